"""Bounds as a person gives them: one pair for all, a pair for each coordinate, or two arrays; None and inf mean none.

(-5, 5)      [(-5, 5), (0, None)]      (low_tensor, high_tensor)      ->      low (n,), high (n,) float64
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.minimum.structure import Structure

SAY = "give (low, high), or one such pair for each coordinate"


def read_bounds(bounds: Any, structure: Structure, start: Tensor) -> tuple[Tensor, Tensor]:
    """low (n,) and high (n,), -inf and inf where there is none.

    Raises:
        InputTrouble: no bounds of this start, bounds that cross, or a start outside.
    """
    n = structure.n
    if bounds is None:
        return torch.full((n,), -math.inf, dtype=torch.float64), torch.full((n,), math.inf, dtype=torch.float64)
    low, high = sides(bounds, structure)
    if low.shape != (n,) or high.shape != (n,):
        raise InputTrouble(f"bounds: {max(low.numel(), high.numel())} for {n} coordinates; {SAY}")
    if bool((torch.isnan(low) | torch.isnan(high)).any()):
        raise InputTrouble(f"bounds: NaN in them; {SAY}")
    crossed = (low > high).nonzero()
    if len(crossed):
        i = int(crossed[0])
        raise InputTrouble(f"bounds: crossed at coordinate {i} ({low[i]:g} above {high[i]:g}); {SAY}")
    outside = ((start < low) | (start > high)).nonzero()
    if len(outside):
        i = int(outside[0])
        raise InputTrouble(f"start: coordinate {i} is {start[i]:g}, outside [{low[i]:g}, {high[i]:g}]; start within the bounds")
    return low, high


def sides(bounds: Any, structure: Structure) -> tuple[Tensor, Tensor]:
    """The two sides, as many as were given. Raises InputTrouble for what are no numbers."""
    n = structure.n
    try:
        parts = list(bounds)
        if len(parts) == 2 and all(p is None or isinstance(p, (int, float)) for p in parts):
            parts = [parts] * n
        if isinstance(bounds, (tuple, list)) and len(parts) == 2 and all(isinstance(p, (Tensor, np.ndarray, dict)) for p in parts):
            return Structure(parts[0]).flat(), Structure(parts[1]).flat()
        pairs = [tuple(p) for p in parts]
        if not all(len(p) == 2 for p in pairs):
            raise TypeError
        low, high = [_side(p[0], -1.0) for p in pairs], [_side(p[1], 1.0) for p in pairs]
    except (TypeError, ValueError) as error:
        raise InputTrouble(f"bounds: expected pairs of numbers, {type(bounds).__name__} came; {SAY}") from error
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def _side(value: Any, sign: float) -> float:
    return sign * math.inf if value is None else float(value)
