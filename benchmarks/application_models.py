"""The small models that `applications.py` measures: what a user would write, for a plain PyTorch loop and for `fit` alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Application(NamedTuple):
    """A model, its data and loss, and how it is measured."""

    make: Callable[[], nn.Module]
    x: Any
    y: Any
    loss: Any  # for fit
    plain: Callable[[Any, Any], Tensor]  # for the plain loop: (output, target) -> one number
    batch: int
    steps: int  # of one reading
    bar: float


class Recurrent(nn.Module):
    """Tokens to a class, by the last state of a recurrent layer."""

    def __init__(self, kind: type[nn.Module], words: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(words, width), kind(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T) -> (n, classes)."""
        states, _ = self.cell(self.embed(tokens))
        return self.head(states[:, -1])


class Policy(nn.Module):
    """Two networks of 64-64: logits of the actions and the value of a state."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 4) -> (n, 2), (n,)."""
        return self.actor(states), self.critic(states).squeeze(-1)


def clipped(output: Any, target: Any) -> Tensor:
    """PPO's loss of each example: clipped ratio, half the squared error of the value, a bonus for entropy."""
    (logits, value), (action, before, advantage, goal) = output, target
    logp = F.log_softmax(logits, -1)
    ratio = (logp.gather(1, action[:, None]).squeeze(1) - before).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    entropy = -(logp.exp() * logp).sum(-1)
    return -gain + 0.5 * (value - goal).square() - 0.01 * entropy


class Circuit(nn.Module):
    """Six qubits: RY(x) on each, then four layers of RY, RZ and a chain of CNOTs; the value is <Z> of the first."""

    qubits, layers = 6, 4

    def __init__(self) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.rand(self.layers, self.qubits, 2) * 2.0 - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) angles -> (n,) in [-1, 1]."""
        n = self.qubits
        state = torch.zeros(len(x), 2**n, dtype=torch.complex64)
        state[:, 0] = 1.0
        state = state.view(len(x), *[2] * n)
        for q in range(n):
            state = self._ry(state, q, x[:, q])
        for layer in range(self.layers):
            for q in range(n):
                state = self._rz(self._ry(state, q, self.angles[layer, q, 0]), q, self.angles[layer, q, 1])
            for q in range(n - 1):
                state = self._cnot(state, q)
        chance = (state.real.square() + state.imag.square()).reshape(len(x), 2, -1).sum(2)
        return chance[:, 0] - chance[:, 1]

    def _ry(self, state: Tensor, q: int, angle: Tensor) -> Tensor:
        c, s = torch.cos(angle / 2), torch.sin(angle / 2)
        if angle.ndim:
            c, s = (part.view(-1, *[1] * (self.qubits - 1)) for part in (c, s))
        zero, one = state.select(q + 1, 0), state.select(q + 1, 1)
        return torch.stack([c * zero - s * one, s * zero + c * one], q + 1)

    @staticmethod
    def _rz(state: Tensor, q: int, angle: Tensor) -> Tensor:
        phase = torch.complex(torch.cos(angle / 2), torch.sin(angle / 2))
        return torch.stack([phase.conj() * state.select(q + 1, 0), phase * state.select(q + 1, 1)], q + 1)

    @staticmethod
    def _cnot(state: Tensor, q: int) -> Tensor:
        return torch.stack([state.select(q + 1, 0), state.select(q + 1, 1).flip(q + 1)], q + 1)


class Heat(nn.Module):
    """The residual of the heat equation for a network of 3 x 32: du/dt - 0.1 d2u/dx2."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)]
        self.u = nn.Sequential(*layers)

    @torch.enable_grad()
    def forward(self, points: Tensor) -> Tensor:
        """(n, 2) places and times -> (n, 2): the residual, and u itself, which data bind at the border."""
        points = points.clone().requires_grad_()
        u = self.u(points)
        first = torch.autograd.grad(u.sum(), points, create_graph=True)[0]
        second = torch.autograd.grad(first[:, 0].sum(), points, create_graph=True)[0][:, 0]
        return torch.stack([first[:, 1] - 0.1 * second, u[:, 0]], 1)


def convolutions() -> nn.Module:
    """conv 16 - pool - conv 32 - pool - 64 - 10."""
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))


def applications() -> dict[str, Application]:
    """All of them, on data that is made up."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    def whole(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=g)

    def classes(output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output, y)

    def squares(output: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(output, y)

    n = 4096
    old = (whole(2, n), normal(n) * 0.1 - 0.7, normal(n), normal(n))
    small, large = whole(200, n, 20), whole(5000, 3200, 32)
    points = torch.rand(n, 2, generator=g)
    heat = torch.stack([torch.zeros(n), torch.sin(torch.pi * points[:, 0])], 1)
    return {
        "GRU": Application(lambda: Recurrent(nn.GRU, 200, 32, 64, 4), small, whole(4, n), "cross_entropy", classes, 32, 100, 0.5),
        "PPO update": Application(Policy, normal(n, 4), old, clipped, lambda o, t: clipped(o, t).mean(), 256, 200, 0.5),
        "circuit": Application(Circuit, normal(n, 6), normal(n), "mse", squares, 32, 50, 0.5),
        "physics": Application(Heat, points, heat, "mse", squares, 256, 200, 0.5),
        "LSTM": Application(
            lambda: Recurrent(nn.LSTM, 5000, 64, 128, 2), large, whole(2, 3200), "cross_entropy", classes, 64, 50, 0.9
        ),
        "CNN": Application(
            convolutions, torch.rand(4992, 1, 28, 28, generator=g), whole(10, 4992), "cross_entropy", classes, 128, 20, 0.8
        ),
    }
