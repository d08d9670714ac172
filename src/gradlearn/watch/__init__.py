"""How is it going? One file is one health check: measure, judge, say. Every check leaves the training bitwise as found."""
