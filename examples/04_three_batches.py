"""B three ways on one problem: all examples a step, thirty-two, one. The same data, passes and update; prints three losses."""

import torch
from torch import nn

import gradlearn

chance = torch.Generator().manual_seed(0)
x = torch.randn(640, 8, generator=chance)
y = x @ torch.randn(8, 1, generator=chance) + 0.1 * torch.randn(640, 1, generator=chance)  # noise: 0.01 is the floor


def loss_after(batch: int | str, lr: float) -> tuple[float, int]:
    """Mean squared error after five passes over the data, and the steps that took."""
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    run = gradlearn.fit(model, (x, y), loss="mse", batch=batch, epochs=5, update="sgd", lr=lr, valid=None, average="plain")
    with torch.no_grad():
        return nn.functional.mse_loss(model(x), y).item(), run.steps


for name, batch, lr in (("full batch", "full", 0.1), ("mini-batch", 32, 0.02), ("single", 1, 0.002)):
    loss, steps = loss_after(batch, lr)
    print(f"{name:10}  {steps:5d} steps   loss {loss:.4f}")
