"""Parity of a sequence, the smallest task that no single input tells anything about: by a network, and by a recurrent one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .trap import Trap, problem


class Reader(nn.Module):
    """A recurrent network over +-1, one logit from its last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.core, self.head = nn.RNN(1, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, length) -> (n, 1)."""
        states, _ = self.core(x[..., None])
        return self.head(states[:, -1])


def _parity(model: nn.Module, length: int) -> Trap:
    """32 sequences a step; passes where 1 of 100 of all sequences is wrong."""
    every = 1.0 - 2.0 * ((torch.arange(2**length)[:, None] >> torch.arange(length)) & 1).float()

    def loss(t: int) -> Tensor:
        x = every[torch.randint(len(every), (32,))]
        return nn.functional.softplus(-x.prod(1) * model(x)[:, 0])

    return Trap(model, loss, lambda t: float((model(every)[:, 0] * every.prod(1) <= 0).float().mean()), 0.01, 32)


@problem(steps=300, length=(4, 6, 9))
def xor_sequence(length: int) -> Trap:
    """Parity of up to 9 bits at once, by one hidden layer of 32."""
    return _parity(nn.Sequential(nn.Linear(length, 32), nn.Tanh(), nn.Linear(32, 1)), length)


@problem(steps=300, length=(2, 4, 5))
def xor_sequence_rnn(length: int) -> Trap:
    """Parity of up to 5 bits one after another, by a recurrent network of 16."""
    return _parity(Reader(16), length)
