"""Each class by itself, and all counted the same: what accuracy hides where classes are uneven.

    recall_c = right_c / examples_c    precision_c = right_c / guesses_c    F1_c = 2 right_c / (examples_c + guesses_c)
    balanced accuracy = mean recall of the classes with examples,   macro F1 = mean F1 of those with examples or guesses

A model that always says the largest class has that class's share as accuracy, and 1 / classes as balanced accuracy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

UNEVEN = 1.5  # the largest class over the smallest from which on the means over classes are part of a score


class ByClass(NamedTuple):
    """(k,) float64 each; nan where there is nothing to divide by."""

    examples: Tensor
    right: Tensor
    recall: Tensor
    precision: Tensor
    f1: Tensor

    @property
    def balanced(self) -> float:
        """Balanced accuracy, in [0, 1]."""
        return self.recall.nanmean().item()

    @property
    def macro(self) -> float:
        """Macro F1, in [0, 1]."""
        return self.f1.nanmean().item()


def by_class(guess: Tensor, labels: Tensor, k: int) -> ByClass:
    """Of guesses and labels (n,) among k classes."""
    of, said, right = (torch.bincount(v, minlength=k).double() for v in (labels, guess, labels[guess == labels]))
    return ByClass(of, right, right / of, right / said, 2 * right / (of + said))


def uneven(labels: np.ndarray, k: int) -> bool:
    """Whether labels (n,) of k classes are so uneven that accuracy alone misleads."""
    counts = np.bincount(labels, minlength=k)
    return bool(counts.max() > UNEVEN * counts.min())
