"""The loop itself: `train` hands out the steps, and whoever iterates decides. Ends when the loss is low enough; prints it."""

import torch
from torch import nn

import gradlearn

x = torch.linspace(-3, 3, 512)[:, None]
y = torch.sin(x)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1))

smooth = 1.0
for step in gradlearn.train(model, (x, y), loss="mse", steps=5000):
    smooth = 0.98 * smooth + 0.02 * step.loss
    if smooth < 0.001:
        break

with torch.no_grad():
    error = nn.functional.mse_loss(model(x), y).item()
print(f"ended after {step.t + 1} of 5000 steps, {step.epoch:.1f} passes over the data")
print(f"mean squared error: {error:.5f}")
