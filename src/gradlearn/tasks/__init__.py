"""Applications: each file is one task, a choice of model, data, losses and score."""
