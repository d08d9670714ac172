"""The loss of a detector: scores that say how well the box fits, and boxes that fit.

    total_i = sum over places and classes of |q - p|^2 BCE(p, q)  +  box * sum over positives of q (1 - giou)
    count_i = max(sum of q, 1),       p = sigmoid(score),       q = target of a positive for its class, 0 everywhere else

of picture i. Targets are what `assignment` says of the answers as they are; no slope goes through them. Li et al., "Generalized
focal loss", arXiv 2006.04388, for the scores: places that are right already, nearly all, weigh next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from gradlearn.assignment import Truth, assign
from gradlearn.boxes import giou
from gradlearn.symbols import Losses

if TYPE_CHECKING:
    from gradlearn.models.detector import Places

__all__ = ["NOTHING", "detection_losses", "truth_of"]

NOTHING = -1.0  # the label of a row that only fills y up
BOX = 2.0  # weight of the boxes beside the scores


def truth_of(y: Tensor) -> Truth:
    """The true boxes of (n, most, 5) rows of label, x1, y1, x2, y2; rows labelled NOTHING are left out."""
    picture, row = (y[..., 0] >= 0.0).nonzero(as_tuple=True)
    rows = y[picture, row]
    return Truth(rows[:, 1:], rows[:, 0].long(), picture)


def detection_losses(scores: Tensor, boxes: Tensor, at: Places, y: Tensor) -> Losses:
    """Losses of n pictures.

    Args:
        scores: (n, a, classes) before the sigmoid.
        boxes: (n, a, 4) in pixels.
        at: where the places are.
        y: (n, most, 5) label, x1, y1, x2, y2 of the true boxes, filled up with rows labelled NOTHING.
    """
    n, count, classes = scores.shape
    truth, p = truth_of(y), scores.sigmoid()
    positive = assign(p.detach(), boxes.detach(), at, truth)
    q = scores.new_zeros(n * count, classes)
    q[positive.at, truth.labels[positive.truth]] = positive.target
    q = q.view_as(scores)
    of_scores = ((q - p).square() * F.binary_cross_entropy_with_logits(scores, q, reduction="none")).sum((1, 2))
    fit = giou(boxes.reshape(-1, 4)[positive.at], truth.boxes[positive.truth])
    picture = truth.picture[positive.truth]
    of_boxes = scores.new_zeros(n).index_add(0, picture, positive.target * (1.0 - fit))
    terms = scores.new_zeros(n).index_add(0, picture, positive.target)
    return Losses(of_scores + BOX * of_boxes, terms.clamp_min(1.0))
