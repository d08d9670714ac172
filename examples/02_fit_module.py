"""A module of one's own on scikit-learn's digits, nothing tuned. Prints its accuracy on digits that it never saw."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import gradlearn

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)  # (1797, 64)
y = torch.tensor(digits.target)  # (1797,)
train, test = slice(0, 1400), slice(1400, None)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
run = gradlearn.fit(model, (x[train], y[train]), loss="cross_entropy")

accuracy = (run.predict(x[test]).argmax(1) == y[test]).double().mean().item()
print(run.explain())
print(f"accuracy on {len(y[test])} digits never seen: {accuracy:.4f}")
