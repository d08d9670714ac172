"""The equation with its parts in hand: theta <- theta - eta * u(g), a call a step. Finds the line y = 3 x - 1; prints it."""

import torch
from torch import nn

from gradlearn.average.plain import Plain
from gradlearn.batches.shuffle import Shuffle
from gradlearn.gradient.backprop import Backprop
from gradlearn.objective.squared_error import SquaredError
from gradlearn.rate.linear import Linear
from gradlearn.step import step
from gradlearn.symbols import Batch, Controls, Losses, Now
from gradlearn.theta import Theta
from gradlearn.update.sgd import SGD

torch.manual_seed(0)
x = torch.linspace(-1, 1, 200)[:, None]
y = 3 * x - 1 + 0.1 * torch.randn(200, 1)


class Line:
    """L: what is wrong with each example, for this model."""

    model = nn.Linear(1, 1)
    loss = SquaredError()

    def __call__(self, batch: Batch) -> Losses:
        """Squared error of each example."""
        return self.loss(self.model(batch.x), batch.y)


objective = Line()
theta = Theta(objective.model)  # all parameters as one vector
batches = Shuffle(len(x), size=20)  # B
gradient = Backprop()  # g
update = SGD(theta.groups(), lr=0.1)  # u, and its base rate
for group in update.param_groups:
    group["initial_lr"] = group["lr"]
rate, average, controls = [Linear()], Plain(theta), Controls()  # eta, theta-bar, the dials

for t in range(100):
    now = Now(t, T=100, seen=20 * t, seed=0)
    index = batches(now)
    batch = Batch(x[index], y[index], index, draw=t)
    done = step(theta, batch, objective, gradient, update, rate, average, now, controls, examples=len(x))
    if t % 20 == 0:
        print(f"step {done.t:2d}   loss {done.loss:.4f}   |g| {done.norm:.4f}   eta {done.lr:.4f}")

slope, offset = objective.model.weight.item(), objective.model.bias.item()
print(f"y = {slope:.3f} x {offset:+.3f}")
