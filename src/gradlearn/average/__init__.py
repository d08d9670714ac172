"""theta-bar: which weights are scored, saved and used? One file is one average over the steps."""
