"""u: which way do we go? One file is one update, a `torch.optim.Optimizer`; the file's name is its name in a run."""
