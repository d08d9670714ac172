"""The loss of a detector against its formula, picture by picture."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gradlearn.assignment import assign
from gradlearn.boxes import HARD, NOTHING, giou
from gradlearn.detection import BOX, detection_losses, free_of, truth_of
from gradlearn.models.detector import places

AT = places([torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4)], (8, 16))
A, CLASSES = 60, 2


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, boxes and truth of four pictures; the last has no box."""
    g = torch.Generator().manual_seed(seed)
    y = torch.full((4, 5, 5), NOTHING)
    for i, k in enumerate((5, 1, 3, 0)):
        low = torch.rand(k, 2, generator=g) * 30
        y[i, :k, 0] = torch.randint(CLASSES, (k,), generator=g).float()
        y[i, :k, 1:] = torch.cat([low, low + 4 + torch.rand(k, 2, generator=g) * 14], 1)
    boxes = torch.cat([AT.centres - 9, AT.centres + 9], 1) + torch.randn(4, A, 4, generator=g) * 3
    return torch.randn(4, A, CLASSES, generator=g), boxes, y


def test_rows_that_fill_up_are_no_boxes():
    _, _, y = drawn()
    truth = truth_of(y)
    assert truth.picture.tolist() == [0] * 5 + [1] + [2] * 3
    assert torch.equal(truth.boxes[5], y[1, 0, 1:])
    assert truth.labels.dtype == torch.int64


def test_it_is_the_formula():
    scores, boxes, y = drawn()
    losses = detection_losses(scores, boxes, AT, y)
    truth = truth_of(y)
    found = assign(scores.sigmoid(), boxes, AT, truth)
    for i in range(4):
        target = {(k % A, int(truth.labels[m])): t for k, m, t in zip(*(v.tolist() for v in found), strict=True) if k // A == i}
        total = 0.0
        for a in range(A):
            for c in range(CLASSES):
                p, q = 1 / (1 + math.exp(-scores[i, a, c].item())), target.get((a, c), 0.0)
                total -= (q - p) ** 2 * (q * math.log(p) + (1 - q) * math.log(1 - p))
        for k, m, t in zip(*(v.tolist() for v in found), strict=True):
            if k // A == i:
                total += BOX * t * (1 - giou(boxes[i, k % A], truth.boxes[m]).item())
        assert losses.total[i].item() == pytest.approx(total, rel=1e-4)
        assert losses.count[i].item() == pytest.approx(max(sum(target.values()), 1.0), rel=1e-4)


def test_each_picture_has_the_losses_that_it_has_alone():
    scores, boxes, y = drawn()
    together = detection_losses(scores, boxes, AT, y)
    for i in range(4):
        alone = detection_losses(scores[i : i + 1], boxes[i : i + 1], AT, y[i : i + 1])
        assert torch.allclose(alone.total, together.total[i : i + 1], rtol=1e-5)
        assert torch.allclose(alone.count, together.count[i : i + 1], rtol=1e-5)


def test_slopes_go_through_scores_and_boxes_and_not_through_targets():
    scores, boxes, y = drawn()
    scores, boxes = scores.requires_grad_(), boxes.requires_grad_()
    losses = detection_losses(scores, boxes, AT, y)
    assert not losses.count.requires_grad
    of_scores, of_boxes = torch.autograd.grad(losses.total.sum(), (scores, boxes))
    found = assign(scores.detach().sigmoid(), boxes.detach(), AT, truth_of(y))
    moved = of_boxes.reshape(-1, 4).abs().sum(1) > 0
    assert set(moved.nonzero().flatten().tolist()) <= set(found.at.tolist())
    assert bool((of_scores.abs().sum(2) > 0).all())


def test_a_perfect_answer_costs_next_to_nothing():
    _, _, y = drawn()
    truth = truth_of(y)
    scores, boxes = torch.full((4, A, CLASSES), -12.0), torch.zeros(4, A, 4)
    for box, label, picture in zip(truth.boxes, truth.labels.tolist(), truth.picture.tolist(), strict=True):
        near = ((AT.centres - (box[:2] + box[2:]) / 2).abs().amax(1) / AT.strides).argmin()
        scores[picture, near, label], boxes[picture, near] = 12.0, box
    some = detection_losses(
        torch.full((4, A, CLASSES), -3.0), torch.cat([AT.centres - 9, AT.centres + 9], 1).expand(4, A, 4), AT, y
    )
    best = detection_losses(scores, boxes, AT, y)
    assert best.total.sum().item() < 0.2 * some.total.sum().item()


def test_no_box_anywhere_is_a_loss_that_can_be_learned_from():
    scores, boxes, _ = drawn()
    scores = scores.requires_grad_()
    losses = detection_losses(scores, boxes, AT, torch.full((4, 1, 5), NOTHING))
    assert losses.count.tolist() == [1.0] * 4
    (g,) = torch.autograd.grad(losses.total.sum(), scores)
    assert bool((g > 0).all())


def test_nothing_is_asked_of_a_hard_box_but_where_a_true_one_lies():
    scores, boxes, y = drawn()
    plain = detection_losses(scores, boxes, AT, y)
    hard = torch.tensor([HARD - 1.0, 10.0, 6.0, 40.0, 30.0])  # of class 1
    y[1, 1] = hard
    scores.requires_grad_()
    losses = detection_losses(scores, boxes, AT, y)
    others = torch.tensor([0, 2, 3])
    assert torch.equal(losses.total[others], plain.total[others])
    assert torch.equal(losses.count, plain.count)
    losses.total.sum().backward()
    assert scores.grad is not None
    inside = ((AT.centres > hard[1:3]) & (AT.centres < hard[3:])).all(1)
    truth = truth_of(y)
    positive = assign(scores.detach().sigmoid(), boxes, AT, truth)
    asked = torch.zeros(4 * A, dtype=torch.bool)
    asked[positive.at[truth.labels[positive.truth] == 1]] = True
    free = inside & ~asked.view(4, A)[1]
    assert free.any()
    assert (scores.grad[1, free, 1] == 0.0).all()
    assert (scores.grad[1, ~free, 1] != 0.0).all()
    assert (scores.grad[1, :, 0] != 0.0).all()
    assert free_of(drawn()[2], AT, CLASSES) is None
