"""BatchNorm's running statistics measured anew, for weights that no forward pass has seen: averages, soups.

    mean, var <- the plain mean over BATCHES batches of training examples, at the weights that the model holds

Izmailov et al., "Averaging weights leads to wider optima" (SWA), UAI 2018. Statistics kept along the way belong to the
weights of the way: a mean of them is nearly right where the weights were averaged at every step, and not where they were far
apart. For the loop, where an average says `refresh`. Nothing but these statistics changes; the draws are a function of the
seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from gradlearn import chance
from gradlearn.symbols import Batch, Data

__all__ = ["renew"]

BATCHES, SIZE = 8, 128


def renew(model: nn.Module, losses: Callable[[Batch], Any], data: Data, seed: int) -> None:
    """Set the running statistics of every BatchNorm from training examples; `losses(batch)` passes a batch through the model.

    Dropout is off while it looks, as where the statistics are used. Modes and random state are bitwise as found.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None]
    if not norms:
        return
    modes, kept = [(m, m.training) for m in model.modules()], [(m.momentum, m.num_batches_tracked) for m in norms]
    try:
        model.eval()
        for m in norms:
            m.train()
            m.momentum = None  # torch's word for a plain mean; it counts the batches
            m.num_batches_tracked = torch.zeros((), dtype=torch.int64)
            m.reset_running_stats()
        with chance.preserved(), torch.no_grad():
            for k in range(BATCHES):
                draw = chance.key(seed, "statistics", k)
                chance.reseed(draw)
                places = np.arange(min(SIZE, len(data)))
                losses(data(torch.from_numpy(chance.integers(len(data), seed, "statistics", k, places)), draw))
    finally:
        for m, (momentum, count) in zip(norms, kept, strict=True):
            m.momentum, m.num_batches_tracked = momentum, count
        for m, mode in modes:
            m.training = mode
