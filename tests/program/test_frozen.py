"""Frozen: every change of what a program has written down is seen, and none is imagined."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gradlearn.program.frozen import Frozen


class Own(nn.Module):
    """Has a number, a word and a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(3, 3), nn.Dropout(0.1)
        self.scale, self.word, self.constant = 2.0, "a", torch.ones(3)


CHANGES: dict[str, Callable[[Own], object]] = {
    "number": lambda m: setattr(m, "scale", 3.0),
    "type": lambda m: setattr(m, "scale", 2),
    "word": lambda m: setattr(m, "word", "b"),
    "tensor": lambda m: setattr(m, "constant", torch.ones(3)),
    "inner": lambda m: setattr(m.drop, "p", 0.2),
    "mode": lambda m: m.drop.eval(),
    "new": lambda m: setattr(m, "other", 1),
    "gone": lambda m: delattr(m, "word"),
    "child": lambda m: setattr(m, "drop", nn.Dropout(0.1)),
    "children": lambda m: m.add_module("more", nn.ReLU()),
    "hook": lambda m: m.layer.register_forward_hook(lambda *a: None),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_change_is_seen(change: str):
    model = Own()
    frozen = Frozen(model)
    assert frozen.holds()
    CHANGES[change](model)
    assert not frozen.holds()


def test_training_alone_changes_nothing():
    model = Own()
    frozen = Frozen(model)
    model.drop(model.layer(torch.ones(2, 3))).sum().backward()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    model.scale = 1.0 + 1.0
    assert frozen.holds()
