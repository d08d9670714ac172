"""What tests of checks look with: an objective on tensors, and one look of a check that asks before or after a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradlearn.adapt import Examples, loss_of
from gradlearn.supervised import call
from gradlearn.symbols import Batch, Finding, History, Losses, Step
from gradlearn.theta import Theta

BLANK = Step(0, 1.0, 1.0, 0.1, 32, 0.0, True, 0.0)


class Looked:
    """A module and a loss on examples in memory."""

    def __init__(
        self,
        x: Any,
        y: Any,
        valid: tuple[Any, Any] | None = None,
        model: nn.Module | None = None,
        loss: Any = "cross_entropy",
        steps: int = 10_000,
    ) -> None:
        self.model = nn.Linear(x.shape[-1], 2) if model is None else model
        self.data, self.valid = Examples(x, y), None if valid is None else Examples(*valid)
        self.loss, self.steps = loss_of(loss), steps

    def __call__(self, batch: Batch) -> Losses:
        return self.loss(call(self.model, batch.x), batch.y)


def measured(check: Any, objective: Looked, history: History | None = None) -> History:
    """A history with what the check measured, once."""
    history = History() if history is None else history
    if history.last is None:
        history.add(BLANK)
    values = check.measure(history.last, Theta(objective.model), objective)
    if values is not None:
        history.note(history.last.t if history.last else 0, type(check).__module__.rpartition(".")[2], values)
    return history


def spoken(check: Any, objective: Looked) -> Finding | None:
    """What the check says after one look; a second time it says nothing."""
    history = measured(check, objective)
    finding = check.judge(history)
    if finding is not None:
        history.findings.append(finding)
        assert check.judge(history) is None, "said twice"
    return finding


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n: int, classes: int = 3, width: int = 8, apart: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around `classes` centres."""
    g = draws(seed)
    centres = apart * torch.randn(classes, width, generator=draws(99))
    y = torch.randint(0, classes, (n,), generator=g)
    return centres[y] + torch.randn(n, width, generator=g), y
