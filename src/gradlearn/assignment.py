"""Which places of a detector answer for which true box: those that are best at it already, score and overlap taken together.

    near(box)   = the (2 radius + 1)^2 places around its centre on every level that lie inside it; the nearest always
    fit(place)  = score^score_power * iou^iou_power         of the true class, and of the box that the place says
    positive    = the `most` fittest of near(box), but a place answers for one box only, the one it overlaps most
    target      = fit / (best fit of the box) * (best iou of the box)

Feng et al., "TOOD: task-aligned one-stage object detection", arXiv 2108.07755. Candidates are a window of every level, not all
places: the work is in proportion to the boxes, whatever the size of the pictures, and no size of box is given to a level by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gradlearn.boxes import iou

if TYPE_CHECKING:
    from gradlearn.models.detector import Places

__all__ = ["Positives", "Truth", "assign"]

LEAST = 1e-9  # fit of a candidate that says something else altogether: one of these is taken where there is no better


class Truth(NamedTuple):
    """The true boxes of a batch, one after the other."""

    boxes: Tensor  # (m, 4) in pixels
    labels: Tensor  # (m,) int64
    picture: Tensor  # (m,) int64: in which picture of the batch


class Positives(NamedTuple):
    """Places that answer for a box."""

    at: Tensor  # (p,) int64: picture * places + place, each at most once
    truth: Tensor  # (p,) int64: for which box
    target: Tensor  # (p,) what the score of its class should be, in [0, 1]


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes: Tensor,
    at: Places,
    truth: Truth,
    most: int = 10,
    radius: int = 2,
    score_power: float = 1.0,
    iou_power: float = 6.0,
) -> Positives:
    """Which places answer for which box.

    Args:
        scores: (n, a, classes), in [0, 1].
        boxes: (n, a, 4), what each place says.
        at: where the places are.
        truth: the true boxes.
        most: places for one box.
        radius: of the window of candidates, in places of each level.
        score_power: how much the score counts.
        iou_power: how much the overlap counts.
    """
    count = scores.shape[1]
    near, allowed = candidates(truth.boxes, at, radius)  # (m, c) each
    flat = truth.picture[:, None] * count + near
    overlap = iou(boxes.reshape(-1, 4)[flat], truth.boxes[:, None])
    fit = scores.reshape(-1, scores.shape[2])[flat, truth.labels[:, None]].pow(score_power) * overlap.pow(iou_power)
    fit, chosen = torch.where(allowed, fit + LEAST, -1.0).topk(min(most, near.shape[1]), 1)
    taken = fit > 0.0
    flat, overlap, fit = flat.gather(1, chosen)[taken], overlap.gather(1, chosen)[taken], fit[taken]
    owner = torch.arange(len(truth.boxes), device=flat.device)[:, None].expand_as(taken)[taken]
    kept = _of_one_box(flat, overlap, owner, boxes.shape[0] * count)
    flat, overlap, fit, owner = flat[kept], overlap[kept], fit[kept], owner[kept]
    best = fit.new_zeros(len(truth.boxes))
    fittest = best.scatter_reduce(0, owner, fit, "amax")[owner]
    return Positives(flat, owner, fit / fittest * best.scatter_reduce(0, owner, overlap, "amax")[owner])


def candidates(boxes: Tensor, at: Places, radius: int) -> tuple[Tensor, Tensor]:
    """(m, c) numbers of places around the centres of (m, 4) boxes, on every level; and which of these lie in picture and box."""
    offsets = torch.arange(-radius, radius + 1, device=boxes.device)
    dy, dx = (t.flatten() for t in torch.meshgrid(offsets, offsets, indexing="ij"))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    found, allowed, first = [], [], 0
    for height, width in at.shapes:
        stride = at.strides[first]
        x = (centres[:, :1] / stride).long().clamp(0, width - 1) + dx
        y = (centres[:, 1:] / stride).long().clamp(0, height - 1) + dy
        exists = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        number = first + y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        place = at.centres[number]  # (m, c, 2)
        inside = ((place > boxes[:, None, :2]) & (place < boxes[:, None, 2:])).all(2)
        found.append(number)
        allowed.append(exists & (inside | ((dx == 0) & (dy == 0))))
        first += height * width
    return torch.cat(found, 1), torch.cat(allowed, 1)


def _of_one_box(flat: Tensor, overlap: Tensor, owner: Tensor, places: int) -> Tensor:
    """(p,) bool: of the rows of one place, the one that overlaps most; of equal ones the first box."""
    most = overlap.new_full((places,), -1.0).scatter_reduce(0, flat, overlap, "amax")
    last = int(torch.iinfo(owner.dtype).max)
    number = torch.where(overlap >= most[flat], owner, last)
    return number == owner.new_full((places,), last).scatter_reduce(0, flat, number, "amin")[flat]
