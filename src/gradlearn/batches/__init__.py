"""B: which examples now, and how many? One file is one way to choose; each is a pure function of (seed, examples seen)."""
