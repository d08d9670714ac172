"""Cross-entropy: minus the log-probability that the model gives to the true class.

    total_i = -sum_k q_k log softmax(output_i)_k,   q = (1 - label_smoothing) onehot + label_smoothing / K

The loss of classification. `output` (n, K) or (n, K, ...) scores; `target` (n,) or (n, ...) class numbers, or (n, K) probabilities;
a target of `ignore` is left out of total and count. `class_weight` (K,) weighs total and count alike. A model with one output per
example (n,) or (n, 1) and targets 0 or 1 is a two-class model: sigmoid cross-entropy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Losses

__all__ = ["CrossEntropy"]


class CrossEntropy:
    """Unreduced cross-entropy.

    Args:
        label_smoothing: share of the target spread over all classes, in [0, 1).
        class_weight: one weight per class, or None.
        ignore: a class number that is left out of total and count; None where no target has it (saves a pass).
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Tensor | None = None,
        ignore: int | None = -100,
    ) -> None:
        if not 0.0 <= label_smoothing < 1.0:
            raise InputTrouble(f"--cross_entropy.label_smoothing {label_smoothing}: must be in [0, 1)")
        self.label_smoothing, self.ignore = label_smoothing, ignore
        self.class_weight = None if class_weight is None else torch.as_tensor(class_weight, dtype=torch.float32)
        self._shape, self._ones = torch.Size(), torch.ones(0)

    def __call__(self, output: Tensor, target: Tensor) -> Losses:
        """Losses of n examples."""
        if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
            return self._two_class(output, target)
        if target.dtype != torch.int64 and not target.is_floating_point():
            target = target.long()
        weight = None if self.class_weight is None else self.class_weight.to(output)
        total = F.cross_entropy(
            output,
            target,
            weight=weight,
            reduction="none",
            label_smoothing=self.label_smoothing,
            ignore_index=-100 if self.ignore is None else self.ignore,
        )
        if target.is_floating_point() or (weight is None and self.ignore is None):
            return Losses(_flat(total), self._terms(total))
        return Losses(_flat(total), _flat(count_of(target, weight, self.ignore).to(total.dtype)))

    def _terms(self, total: Tensor) -> Tensor:
        """(n,) how many terms each example has, made once for each shape."""
        if self._shape != total.shape or self._ones.device != total.device:
            self._shape, terms = total.shape, float(total[0].numel() if len(total) else 1)
            self._ones = torch.full(total.shape[:1], terms, device=total.device)
        return self._ones

    def _two_class(self, output: Tensor, target: Tensor) -> Losses:
        target = target.reshape(output.shape).to(output.dtype)
        kept = torch.ones_like(output, dtype=torch.bool) if self.ignore is None else target != self.ignore
        target = target.where(kept, 0.0)
        smooth = target * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        total = F.binary_cross_entropy_with_logits(output, smooth, reduction="none")
        counted = kept.to(total.dtype)
        if self.class_weight is not None:
            counted = counted * self.class_weight.to(output)[target.round().long()]
        return Losses(_flat(total * counted), _flat(counted))


def count_of(target: Tensor, weight: Tensor | None, ignore: int | None) -> Tensor:
    """How much each term counts: its class's weight, or 1; 0 where it is ignored. In the shape of the class numbers."""
    kept = torch.ones_like(target, dtype=torch.bool) if ignore is None else target != ignore
    return kept if weight is None else weight[target.where(kept, 0)] * kept


def _flat(per_term: Tensor) -> Tensor:
    """(n, ...) summed to (n,)."""
    return per_term if per_term.ndim == 1 else per_term.flatten(1).sum(1)
