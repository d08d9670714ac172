"""Group lasso: the norm of all weights of a neuron, so that whole neurons go to zero.

    R = weight sum_groups sqrt(size of the group) ||group||_2

Yuan, Lin, "Model selection with grouped variables", 2006; Scardapane et al., "Group sparse regularization for deep neural
networks", 2017. A group is what goes into an output (a row of a matrix, a filter), or what leaves an input (a column), which
removes unneeded inputs and neurons. As with L1, gradient steps come near zero, not onto it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble, nearest

__all__ = ["GroupLasso"]


class GroupLasso:
    """Called with the model: a number to add to the mean loss.

    Args:
        weight: of the penalty, at least 0.
        by: "output" or "input": whose weights are a group.
    """

    penalty = True
    wants = ("model",)

    def __init__(self, *, weight: float = 1e-5, by: str = "output") -> None:
        if not 0.0 <= weight < math.inf:
            raise InputTrouble(f"--group_lasso.weight {weight}: must be a finite number of at least 0")
        if by not in ("output", "input"):
            raise InputTrouble(f"--group_lasso.by {by}: must be output or input{nearest(by, ('output', 'input'))}")
        self.weight, self.by = weight, by

    def __call__(self, model: nn.Module) -> Tensor | float:
        """weight * sum of sqrt(size) * norm over all groups of all matrices."""
        matrices = [
            p for p in model.parameters() if p.ndim >= 2 and (p.requires_grad or type(p) is Tensor)
        ]  # or a tensor in its place
        groups = [(p if self.by == "output" else p.transpose(0, 1)).flatten(1) for p in matrices]
        return self.weight * sum(math.sqrt(g.shape[1]) * torch.linalg.vector_norm(g, dim=1).sum() for g in groups)
