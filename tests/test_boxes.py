"""Overlaps of boxes against counted pixels and formulas written out, and the greedy rule against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradlearn.boxes import area, ciou, diou, giou, iou, nms

SIDE = 12
corners = st.tuples(*[st.integers(0, SIDE) for _ in range(4)])
whole_boxes = corners.map(lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])))


def pixels(box: tuple[int, ...]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


def tensor(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@settings(deadline=None)
@given(whole_boxes, whole_boxes)
def test_iou_and_giou_are_those_of_counted_pixels(a: tuple[int, ...], b: tuple[int, ...]):
    both, either = len(pixels(a) & pixels(b)), len(pixels(a) | pixels(b))
    expected = both / either if either else 0.0
    assert iou(tensor(a), tensor(b)).item() == pytest.approx(expected, abs=1e-12)
    assert area(tensor(a)).item() == len(pixels(a))
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    if around:
        assert giou(tensor(a), tensor(b)).item() == pytest.approx(expected - (around - either) / around, abs=1e-12)


@settings(deadline=None)
@given(whole_boxes, whole_boxes)
def test_diou_and_ciou_are_their_formulas(a: tuple[int, ...], b: tuple[int, ...]):
    (wa, ha), (wb, hb) = ((box[2] - box[0], box[3] - box[1]) for box in (a, b))
    if not (wa and ha and wb and hb):
        return
    both, either = len(pixels(a) & pixels(b)), len(pixels(a) | pixels(b))
    centres = math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2))
    diagonal = math.dist((min(a[0], b[0]), min(a[1], b[1])), (max(a[2], b[2]), max(a[3], b[3])))
    d = both / either - (centres / diagonal) ** 2
    v = 4 / math.pi**2 * (math.atan(wa / ha) - math.atan(wb / hb)) ** 2
    c = d - (v * v / (1 - both / either + v) if v else 0.0)
    assert diou(tensor(a), tensor(b)).item() == pytest.approx(d, abs=1e-12)
    assert ciou(tensor(a), tensor(b)).item() == pytest.approx(c, abs=1e-12)


@pytest.mark.parametrize("measure", [iou, giou, diou, ciou])
def test_a_box_and_itself_are_one_and_shapes_broadcast(measure):
    boxes = tensor((0, 0, 4, 2), (1, 1, 3, 9), (5, 5, 6, 6))
    pairs = measure(boxes[:, None], boxes[None])
    assert pairs.shape == (3, 3)
    assert torch.allclose(pairs.diagonal(), torch.ones(3, dtype=torch.float64), atol=1e-8)
    assert torch.allclose(pairs, pairs.T)


@pytest.mark.parametrize("measure", [giou, diou])
def test_boxes_apart_have_a_slope_towards_each_other(measure):
    here, there = tensor((0, 0, 2, 2)).requires_grad_(), tensor((5, 0, 8, 2))
    (g,) = torch.autograd.grad((1 - measure(here, there)).sum(), here)
    assert measure(here - 0.01 * g, there).item() > measure(here, there).item()
    assert torch.autograd.gradcheck(lambda x: measure(x, there), here)


@pytest.mark.parametrize("measure", [iou, giou, diou, ciou])
def test_empty_boxes_give_numbers_and_finite_slopes(measure):
    point = tensor((3, 3, 3, 3)).requires_grad_()
    for other in (tensor((3, 3, 3, 3)), tensor((0, 0, 9, 9)), tensor((4, 4, 5, 5))):
        value = measure(point, other)
        (g,) = torch.autograd.grad(value.sum(), point)
        assert bool(torch.isfinite(value).all())
        assert bool(torch.isfinite(g).all())


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, most: int) -> list[int]:
    """The rule as it is told: the best one left is kept, what overlaps it goes."""
    left = sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i))
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        left = [i for i in left if labels[i] != labels[best] or iou(boxes[i], boxes[best]) <= threshold]
    return kept[:most]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 3), st.sampled_from([0.0, 0.3, 0.5, 0.9]), st.integers(0, 1 << 30))
def test_nms_is_the_greedy_rule(n: int, classes: int, threshold: float, seed: int):
    g = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 8, (n, 2), generator=g).float()
    boxes = torch.cat([low, low + torch.randint(1, 9, (n, 2), generator=g)], 1)
    scores = torch.randint(0, 6, (n,), generator=g).float() / 5  # many are equal
    labels = torch.randint(classes, (n,), generator=g)
    assert nms(boxes, scores, labels, threshold, 20).tolist() == greedy(boxes, scores, labels, threshold, 20)


def test_a_chain_of_overlaps_keeps_every_other_box():
    boxes = torch.tensor([[10.0 * i, 0.0, 10.0 * i + 18.0, 10.0] for i in range(9)])
    kept = nms(boxes, torch.linspace(1, 0, 9), torch.zeros(9, dtype=torch.int64), 0.2)
    assert kept.tolist() == [0, 2, 4, 6, 8]
