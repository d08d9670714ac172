"""The loss of a detector: scores that say how well the box fits, and boxes that fit.

    total_i = sum over places and classes of |q - p|^2 BCE(p, q)  +  box * sum over positives of q (1 - giou)
    count_i = max(sum of q, 1),       p = sigmoid(score),       q = target of a positive for its class, 0 everywhere else

of picture i. Targets are what `assignment` says of the answers as they are; no slope goes through them. Of hard boxes (difficult,
crowds) nothing is asked: places inside one are free to find its class. Li et al., "Generalized focal loss", arXiv 2006.04388, for
the scores: places that are right already, nearly all, weigh next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.assignment import Truth, assign
from gradlearn.boxes import HARD, giou
from gradlearn.symbols import Losses

if TYPE_CHECKING:
    from gradlearn.models.detector import Places

__all__ = ["detection_losses", "free_of", "truth_of"]

BOX = 2.0  # weight of the boxes beside the scores


def truth_of(y: Tensor) -> Truth:
    """The true boxes of (n, most, 5) rows of label, x1, y1, x2, y2; others than true ones are left out."""
    picture, row = (y[..., 0] >= 0.0).nonzero(as_tuple=True)
    rows = y[picture, row]
    return Truth(rows[:, 1:], rows[:, 0].long(), picture)


def free_of(y: Tensor, at: Places, classes: int) -> Tensor | None:
    """(n, a, classes) bool: places in a hard box, for its class; None where no row of y is one."""
    picture, row = (y[..., 0] <= HARD).nonzero(as_tuple=True)
    if not len(picture):
        return None
    rows = y[picture, row]
    within = ((at.centres > rows[:, None, 1:3]) & (at.centres < rows[:, None, 3:])).all(2)  # (m, a)
    which, place = within.nonzero(as_tuple=True)
    free = torch.zeros(len(y), len(at.centres), classes, dtype=torch.bool, device=y.device)
    free[picture[which], place, (HARD - rows[which, 0]).long()] = True
    return free


def detection_losses(scores: Tensor, boxes: Tensor, at: Places, y: Tensor) -> Losses:
    """Losses of n pictures.

    Args:
        scores: (n, a, classes) before the sigmoid.
        boxes: (n, a, 4) in pixels.
        at: where the places are.
        y: (n, most, 5) label, x1, y1, x2, y2 of the true boxes, filled up with rows labelled NOTHING; of hard ones HARD - class.
    """
    n, count, classes = scores.shape
    truth, p = truth_of(y), scores.sigmoid()
    positive = assign(p.detach(), boxes.detach(), at, truth)
    q = scores.new_zeros(n * count, classes)
    q[positive.at, truth.labels[positive.truth]] = positive.target
    q = q.view_as(scores)
    each = (q - p).square() * F.binary_cross_entropy_with_logits(scores, q, reduction="none")
    free = free_of(y, at, classes)
    of_scores = (each if free is None else each.masked_fill(free & (q == 0.0), 0.0)).sum((1, 2))
    fit = giou(boxes.reshape(-1, 4)[positive.at], truth.boxes[positive.truth])
    picture = truth.picture[positive.truth]
    of_boxes = scores.new_zeros(n).index_add(0, picture, positive.target * (1.0 - fit))
    terms = scores.new_zeros(n).index_add(0, picture, positive.target)
    return Losses(of_scores + BOX * of_boxes, terms.clamp_min(1.0))
