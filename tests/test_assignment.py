"""Which places answer for which box: the rule walked through one place at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradlearn.assignment import LEAST, Truth, assign, candidates
from gradlearn.boxes import iou
from gradlearn.models.detector import Places, places

AT = places([torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4)], (8, 16))
N, A, CLASSES = 3, 60, 2


def drawn(seed: int, boxes: int) -> tuple[Tensor, Tensor, Truth]:
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(boxes, 2, generator=g) * torch.tensor([50.0, 34.0])
    truth = Truth(
        torch.cat([low, low + 2 + torch.rand(boxes, 2, generator=g) * 30], 1),
        torch.randint(CLASSES, (boxes,), generator=g),
        torch.randint(N, (boxes,), generator=g).sort().values,
    )
    said = torch.cat([AT.centres - 9, AT.centres + 9], 1) + torch.randn(N, A, 4, generator=g) * 4
    return torch.rand(N, A, CLASSES, generator=g), said, truth


def slowly(
    scores: Tensor, said: Tensor, at: Places, truth: Truth, most: int, radius: int
) -> dict[tuple[int, int], tuple[int, float]]:
    """{(picture, place): (box, target)}."""
    wishes: list[tuple[int, int, int, float, float]] = []
    for m, (box, label, picture) in enumerate(zip(truth.boxes, truth.labels.tolist(), truth.picture.tolist(), strict=True)):
        centre, found = (box[:2] + box[2:]) / 2, []
        for place in range(len(at.centres)):
            stride, here = at.strides[place], at.centres[place]
            cell, last = (here / stride).long(), (at.centres[at.strides == stride].max(0).values / stride).long()
            own = torch.minimum((centre / stride).long(), last)  # the nearest of a centre beyond the picture is at its edge
            nearest = bool((cell == own).all())
            inside = bool(((here > box[:2]) & (here < box[2:])).all())
            if (cell - own).abs().max() <= radius and (inside or nearest):
                o = float(iou(said[picture, place], box))
                found.append((float(scores[picture, place, label]) * o**6 + LEAST, place, o))
        found.sort(key=lambda f: -f[0])
        wishes += [(picture, place, m, fit, o) for fit, place, o in found[:most]]
    owner: dict[tuple[int, int], tuple[int, float, float]] = {}
    for picture, place, m, fit, o in wishes:
        if (picture, place) not in owner or o > owner[picture, place][2]:
            owner[picture, place] = (m, fit, o)
    of_box = {m: [v for v in owner.values() if v[0] == m] for m in range(len(truth.boxes))}
    return {key: (m, fit / max(v[1] for v in of_box[m]) * max(v[2] for v in of_box[m])) for key, (m, fit, o) in owner.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 12), st.sampled_from([1, 3, 10]), st.integers(0, 2))
def test_it_is_the_rule(seed: int, boxes: int, most: int, radius: int):
    scores, said, truth = drawn(seed, boxes)
    found = assign(scores, said, AT, truth, most=most, radius=radius)
    expected = slowly(scores, said, AT, truth, most, radius)
    ours = {(k // A, k % A): (m, t) for k, m, t in zip(found.at.tolist(), found.truth.tolist(), found.target.tolist(), strict=True)}
    assert {k: m for k, (m, _) in ours.items()} == {k: m for k, (m, _) in expected.items()}
    for key, (_, target) in ours.items():
        assert target == pytest.approx(expected[key][1], rel=1e-4, abs=1e-6)


def test_a_centre_beyond_the_picture_has_the_place_at_its_edge():
    scores, said, truth = drawn(150033, 4)
    assert 48 < float(truth.boxes[3, 1] + truth.boxes[3, 3]) / 2 < 56
    found = assign(scores, said, AT, truth, most=1, radius=0)
    assert found.truth.tolist() == [0, 1, 2, 3]


def test_places_answer_for_one_box_each_and_targets_are_overlaps_at_most():
    scores, said, truth = drawn(3, 40)
    found = assign(scores, said, AT, truth)
    assert len(found.at.unique()) == len(found.at)
    assert torch.equal(truth.picture[found.truth], found.at // A)
    assert bool(((found.target >= 0) & (found.target <= 1)).all())


def test_a_box_smaller_than_any_stride_has_the_nearest_places():
    near, allowed = candidates(torch.tensor([[17.0, 17.0, 18.0, 18.0]]), AT, 2)
    assert near[allowed].tolist() == [2 * 8 + 2, 48 + 1 * 4 + 1]


def test_a_box_beyond_the_picture_keeps_to_places_that_exist():
    near, allowed = candidates(torch.tensor([[60.0, 44.0, 90.0, 70.0]]), AT, 2)
    assert int(near.min()) >= 0
    assert int(near.max()) < A
    assert bool(allowed.any())
