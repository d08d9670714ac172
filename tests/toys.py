"""Five toys, one for each kind of thing that gradlearn trains, and the smallest descent around any of them.

Pictures, boxes, tokens, a policy, a circuit: each is a `Task` small enough to learn in half a second on one core. What they have in
common is the point: all of them go through the one `step`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import Examples
from gradlearn.find import find
from gradlearn.loop import Cadence, Descent
from gradlearn.objective.cross_entropy import CrossEntropy
from gradlearn.step import step
from gradlearn.symbols import Batch, Controls, Data, Losses, Now, Score, Step
from gradlearn.theta import Theta


class Toy:
    """What the toys share: one data set for all splits, the mean loss as the score."""

    name = "toy"
    size = 16  # examples in a batch
    lr = 0.01

    def __init__(self) -> None:
        self.sets: Data | None = None

    def make(self) -> Data:
        raise NotImplementedError

    def net(self) -> nn.Module:
        raise NotImplementedError

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        raise NotImplementedError

    def model(self, seed: int) -> nn.Module:
        with chance.preserved():
            chance.reseed(chance.key(seed, "model"))
            return self.net()

    def data(self, split: str) -> Data:
        self.sets = self.sets or self.make()
        return self.sets

    def collect(self, model: nn.Module, now: Now) -> Data:
        return self.data("train")

    def score(self, model: nn.Module, data: Data) -> Score:
        losses = self.losses(model, data(torch.arange(len(data)), -1))
        loss = float(losses.total.double().sum() / losses.count.double().sum())
        return Score("loss", False, loss, {"loss": loss})


def normal(purpose: str, *shape: int) -> Tensor:
    """Normal draws, float32."""
    n = math.prod(shape)
    u = chance.uniform(0, purpose, np.arange(2 * n)).reshape(2, n)
    return torch.from_numpy(np.sqrt(-2 * np.log1p(-u[0])) * np.cos(2 * np.pi * u[1])).float().reshape(shape)


class Pictures(Toy):
    """An image classifier: a bright square, cross or frame in noise; convolution, batch norm, dropout."""

    def make(self) -> Data:
        y = torch.arange(96) % 3
        shapes = torch.zeros(3, 6, 6)
        shapes[0, 1:5, 1:5] = 1
        shapes[1, 2:4] = shapes[1, :, 2:4] = 1
        shapes[2] = 1 - F.pad(torch.ones(4, 4), (1, 1, 1, 1))
        return Examples(shapes[y][:, None] + 0.3 * normal("pictures", 96, 1, 6, 6), y)

    def net(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.1),
            nn.Flatten(),
            nn.Linear(54, 3),
        )

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        return CrossEntropy()(model(batch.x), batch.y)


class Boxes(Toy):
    """A box detector on a 4 x 4 grid: objectness everywhere, a box where there is one.

    total = objectness over all places + box error over the true ones; count = boxes. A picture without boxes has a total
    above 0 and count 0: what it costs is divided by the boxes of the whole batch.
    """

    def make(self) -> Data:
        n = 80
        x, cells = torch.zeros(n, 1, 8, 8), torch.zeros(n, 4, 4, 5)
        for i in range(n):
            for k in range(i % 3):  # 0, 1 or 2 boxes
                row, col, h, w = chance.integers(2, 0, "box", i, k, np.arange(4)).tolist()
                row, col, h, w = 4 * k + 2 * row, int(chance.integers(4, 0, "column", i, k)[0]) * 2, 1 + h, 1 + w
                x[i, 0, row : row + h, col : col + w] = 1
                cells[i, row // 2, col // 2] = torch.tensor([1.0, h / 2, w / 2, row / 8, col / 8])
        return Examples(x, cells)

    def net(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 2, stride=2), nn.ReLU(), nn.Conv2d(16, 5, 1)
        )

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        out, true = model(batch.x).permute(0, 2, 3, 1), batch.y
        there = true[..., 0]
        objectness = F.binary_cross_entropy_with_logits(out[..., 0], there, reduction="none").flatten(1).sum(1)
        places = (out[..., 1:] - true[..., 1:]).abs().sum(3) * there
        return Losses(objectness + places.flatten(1).sum(1), there.flatten(1).sum(1))


class Tokens(Toy):
    """A token model: the next letter of sentences of different lengths; count = letters, padding is nothing."""

    lr = 0.03

    def make(self) -> Data:
        n, longest = 64, 12
        tokens = torch.full((n, longest + 1), -100)
        for i in range(n):
            length = 3 + i % (longest - 2)
            tokens[i, :length] = (i + torch.arange(length) * (1 + i % 2)) % 7
        x = tokens[:, :-1].clamp(min=0)
        return Examples(x, tokens[:, 1:])

    def net(self) -> nn.Module:
        return Speller()

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        return CrossEntropy()(model(batch.x), batch.y)


class Speller(nn.Module):
    """(n, T) tokens -> (n, 7, T) scores; the output layer is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 12)
        self.mixer = nn.GRU(12, 12, batch_first=True)
        self.head = nn.Linear(12, 7)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixer(self.embedding(x))[0]).transpose(1, 2)


class Policy(Toy):
    """A policy on a corridor of six fields: left or right, +1 at the right end, -0.05 a move.

    A round is 32 walks of 12 moves, all at once; several epochs of ordinary steps over its 384 examples follow. The loss is
    the clipped surrogate -A pi(a|s) / pi_old(a|s), and `logp` is handed on for estimators that want it.
    """

    lr = 0.02
    size = 64
    walks, moves, fields = 32, 12, 6

    def net(self) -> nn.Module:
        return nn.Sequential(nn.Embedding(self.fields, 16), nn.Tanh(), nn.Linear(16, 2))

    def make(self) -> Data:
        return self.collect(self.model(0), Now(0, 1, 0, 0))

    @torch.no_grad()
    def collect(self, model: nn.Module, now: Now) -> Data:
        state, alive = torch.zeros(self.walks, dtype=torch.int64), torch.ones(self.walks)
        rows: list[tuple[Tensor, ...]] = []
        for t in range(self.moves):
            logp = model(state).log_softmax(1)
            u = torch.from_numpy(chance.uniform(now.seed, "walk", now.round, t, np.arange(self.walks)))
            action = (u > logp[:, 0].exp()).long()
            after = (state + 2 * action - 1).clamp(0, self.fields - 1)
            reward = alive * ((after == self.fields - 1).float() - 0.05)
            rows.append((state, action, logp.gather(1, action[:, None])[:, 0], reward, alive))
            alive = alive * (after != self.fields - 1)
            state = after
        states, actions, old, rewards, living = (torch.stack(r) for r in zip(*rows, strict=True))
        returns = rewards.flip(0).cumsum(0).flip(0)
        advantage = (returns - returns.mean()) / (returns.std() + 1e-6) * living
        y = torch.stack([actions.float(), old, advantage, rewards], 2).flatten(0, 1)
        return Examples(states.flatten(), y)

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        action, old, advantage, _ = batch.y.unbind(1)
        logp = model(batch.x).log_softmax(1).gather(1, action.long()[:, None])[:, 0]
        ratio = (logp - old).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        return Losses(-surrogate, torch.ones_like(surrogate), logp)

    def score(self, model: nn.Module, data: Data) -> Score:
        walks = self.collect(model, Now(0, 1, 0, 99))
        assert isinstance(walks, Examples)
        value = float(walks.y[:, 3].sum()) / self.walks
        return Score("return", True, value, {"return": value})


class Circuit(Toy):
    """A circuit of four rotations: expectations that are sinusoids of each angle, known by evaluation only.

    Its layer has no derivative that autograd could see; it is measured at angle +- pi/2. Around it ordinary layers and a
    squared loss.
    """

    lr = 0.05

    def make(self) -> Data:
        x = normal("angles", 64, 2)
        with torch.no_grad():
            y = expectations(torch.tensor([0.7, -1.1, 0.4, 2.0]), x)
        return Examples(x, y @ torch.tensor([[1.0], [-0.5]]) + 0.3)

    def net(self) -> nn.Module:
        return nn.Sequential(Rotations(), nn.Linear(2, 1))

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        error = model(batch.x) - batch.y
        return Losses(error.square().sum(1), torch.ones(len(error)))


def expectations(angles: Tensor, x: Tensor) -> Tensor:
    """(n, 2) expectations for angles (4,) and inputs (n, 2); each is a + b sin + c cos of every single angle."""
    a, b, c, d = angles
    return torch.stack([torch.cos(a + x[:, 0]) * torch.cos(b + x[:, 1]), torch.sin(c + x[:, 0]) * torch.cos(d) * torch.cos(a)], 1)


class Shift(torch.autograd.Function):
    """Jacobian of the expectations by two evaluations an angle: (f(angle + pi/2) - f(angle - pi/2)) / 2."""

    @staticmethod
    def forward(ctx: Any, angles: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(angles, x)
        return expectations(angles, x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        angles, x = ctx.saved_tensors
        shifts = torch.eye(len(angles), dtype=angles.dtype) * (math.pi / 2)
        slopes = [(grad[0] * (expectations(angles + s, x) - expectations(angles - s, x)) / 2).sum() for s in shifts]
        return torch.stack(slopes), None


class Rotations(nn.Module):
    """(n, 2) -> (n, 2) expectations."""

    def __init__(self) -> None:
        super().__init__()
        self.angles = nn.Parameter(0.5 * torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return Shift.apply(self.angles, x)


class Line(Toy):
    """The smallest one: a straight line with dropout and batch norm beside it, 48 examples."""

    size = 8

    def make(self) -> Data:
        x = normal("line", 48, 3)
        return Examples(x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1)

    def net(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 1))

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        error = model(batch.x) - batch.y
        return Losses(error.square().sum(1), torch.ones(len(error)))


class Poisoned:
    """Data that is not a number at some steps, or in some examples."""

    def __init__(self, data: Data, seed: int = 0, steps: tuple[int, ...] = (), examples: tuple[int, ...] = ()) -> None:
        self.data, self.draws = data, {chance.key(seed, "batch", t) for t in steps}
        self.examples = torch.tensor(examples, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        batch = self.data(index, draw)
        bad = torch.isin(index, self.examples)
        x = torch.where(bad[:, None], float("nan"), batch.x)
        return batch._replace(x=x * float("nan") if draw in self.draws else x)


TOYS = (Pictures, Boxes, Tokens, Policy, Circuit)


class Of:
    """L of a task and a model."""

    def __init__(self, task: Any, model: nn.Module) -> None:
        self.task, self.model = task, model

    def __call__(self, batch: Batch) -> Losses:
        return self.task.losses(self.model, batch)


def descent(
    task: Any,
    steps: int = 40,
    *,
    seed: int = 0,
    update: str = "adamw",
    average: str = "plain",
    rate: Sequence[str] = ("warmup", "linear"),
    checks: Sequence[str] = ("finite", "divergence"),
    remedies: Sequence[str] = ("skip", "rewind", "stop"),
    cadence: Cadence | None = None,
    model: nn.Module | None = None,
    **more: Any,
) -> Descent:
    """A descent of a task from plug-ins by name, as `run.build` makes it."""
    model = task.model(seed) if model is None else model
    theta, data = Theta(model), task.data("train")
    u = find("update", update)(theta.groups(), lr=task.lr)
    for group in u.param_groups:
        group["initial_lr"] = group["lr"]
    return Descent(
        task=task,
        theta=theta,
        objective=Of(task, model),
        data=data,
        batches=find("batches", "shuffle")(len(data), size=task.size),
        gradient=find("gradient", "backprop")(),
        update=u,
        rate=[find("rate", name)() for name in rate],
        average=find("average", average)(theta),
        controls=Controls(end=steps),
        checks=[find("watch", name)() for name in checks],
        remedies=[find("remedy", name)() for name in remedies],
        seed=seed,
        cadence=cadence or Cadence(),
        **more,
    )


def walk(d: Descent, epochs: int = 2) -> Iterator[Step]:
    """Rounds of `collect`, each with some epochs of ordinary steps: for a supervised task one round is as good as another."""
    d.theta.model.train()
    while d.t < d.controls.end:
        d.data = d.task.collect(d.theta.model, d.now())
        for _ in range(max(epochs * len(d.data) // d.batches.size, 1)):
            if d.t < d.controls.end:
                now = d.now()
                batch = d.data(d.batches(now), chance.key(d.seed, "batch", d.t))
                done = step(d.theta, batch, d.objective, d.gradient, d.update, d.rate, d.average, now, d.controls, len(d.data))
                d.t, d.seen = d.t + 1, d.seen + done.n
                yield done
        d.round += 1
