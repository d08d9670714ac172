"""Plain nn.Modules that know nothing of training: each file is one network, and what sets it up from data."""
