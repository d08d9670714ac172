"""Do pictures have a right side up? Asked of the pictures: could one tell them from what a flip makes of them?

    d_i = x_i - flip(x_i)                              (shrunken pictures, 16 pixels a side at most)
    w   = ridge regression of 1 on d, on one half;     told = share of the other half with w d > 0;  both ways round

told is near 1/2 where a picture and its flip are equally likely (cells under a microscope, streets left and right), near 1 where
they are not (sky above, writing). Boxes do not tell, and no labels are needed. A few hundred pictures are enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEW = 40  # pictures, with fewer nothing can be said
RIDGE = 0.1


def told(x: NDArray[np.floating], axis: int) -> float | None:
    """The share of pictures (n, h, w, c) that a linear classifier tells from their flips along an axis (1: up and down, 2: left and
    right); None for too few."""
    if len(x) < FEW:
        return None
    d = (x - np.flip(x, axis)).reshape(len(x), -1).astype(np.float64)
    half = np.arange(len(x)) % 2 == 0
    right = 0
    for fit in (half, ~half):
        gram = d[fit] @ d[fit].T  # few pictures, many pixels
        ridge = RIDGE * (np.trace(gram) / len(gram) + 1e-9)
        a = np.linalg.solve(gram + ridge * np.eye(len(gram)), np.ones(len(gram)))
        right += int(((d[~fit] @ d[fit].T) @ a > 0.0).sum())
    return right / len(x)


def alike(x: NDArray[np.floating], axis: int) -> bool | None:
    """Whether flips are as likely as the pictures themselves: told no oftener than a coin, within twice its error and a tenth."""
    share = told(x, axis)
    return None if share is None else share < 0.6 + 1.0 / len(x) ** 0.5
