"""The score: COCO's averages are those of a page of brute force, written from the paper; thresholds, classes without boxes."""

from __future__ import annotations

import numpy as np
import pytest

from gradlearn.data.boxes.boxed import Boxed
from gradlearn.detection_errors import Found
from gradlearn.detection_score import score
from gradlearn.errors import InputTrouble

pytest.importorskip("faster_coco_eval", reason="the extra detect is not installed")


def drawn(seed: int, n: int = 12, classes: int = 3, hard: float = 0.0, noise: float = 3.0) -> tuple[Boxed, Found]:
    """True boxes, and found ones: moved copies, others anywhere, some of another class."""
    chance = np.random.default_rng(seed)
    first, boxes, labels, found, kinds, scores, ends = [0], [], [], [], [], [], [0]
    for _ in range(n):
        k = int(chance.integers(0, 6))
        low = chance.uniform(0, 80, (k, 2))
        own = np.concatenate([low, low + chance.uniform(5, 60, (k, 2))], axis=1)
        what = chance.integers(0, classes, k)
        more = chance.uniform(0, 80, (3, 2))
        moved = np.concatenate([own + chance.normal(0, noise, own.shape), own, np.concatenate([more, more + 20], axis=1)])
        keep = chance.random(len(moved)) < 0.7
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        named = np.concatenate([what, chance.integers(0, classes, k), chance.integers(0, classes, 3)])
        boxes.append(own)
        labels.append(what)
        found.append(moved[keep])
        kinds.append(named[keep])
        scores.append(chance.random(int(keep.sum())))
        first.append(first[-1] + k)
        ends.append(ends[-1] + int(keep.sum()))
    m = first[-1]
    truth = Boxed(
        root="/",
        files=[str(i) for i in range(n)],
        sizes=np.full((n, 2), 200, np.int32),
        boxes=np.concatenate(boxes).astype(np.float32),
        labels=np.concatenate(labels).astype(np.int32),
        hard=chance.random(m) < hard,
        first=np.array(first, np.int64),
        classes=tuple("abcdefgh"[:classes]),
        split={"test": np.arange(n, dtype=np.int32)},
        kind="coco",
        source="drawn",
        notes=[],
        fingerprint="",
        image_ids=np.arange(n),
        category_ids=np.arange(classes),
    )
    every = np.concatenate(found).astype(np.float32), np.concatenate(kinds), np.concatenate(scores).astype(np.float32)
    return truth, Found(*every, np.array(ends))


def overlap(a, b, crowd: bool) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1])
    return w * h / (area if crowd else area + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def average(truth: Boxed, found: Found, c: int, threshold: float) -> tuple[float, list[float]]:
    """AP of one class at one IoU, and its precision at 101 recalls: one box after another."""
    outcomes, boxes = [], 0
    for i in range(len(truth)):
        here = slice(int(truth.first[i]), int(truth.first[i + 1]))
        own = [
            (tuple(map(float, b)), bool(h))
            for b, k, h in zip(truth.boxes[here], truth.labels[here], truth.hard[here], strict=True)
            if k == c
        ]
        boxes += sum(not hard for _, hard in own)
        rows = [k for k in range(int(found.first[i]), int(found.first[i + 1])) if found.labels[k] == c]
        used: set[int] = set()
        for k in sorted(rows, key=lambda k: -found.scores[k])[:100]:
            box = tuple(map(float, found.boxes[k]))
            fit = [(overlap(box, b, hard), g) for g, (b, hard) in enumerate(own) if hard or g not in used]
            plain = [(v, g) for v, g in fit if v >= threshold and not own[g][1]]
            if plain:
                used.add(max(plain, key=lambda pair: pair[0])[1])
                outcomes.append((float(found.scores[k]), True))
            elif not any(v >= threshold for v, g in fit if own[g][1]):
                outcomes.append((float(found.scores[k]), False))
    if not boxes:
        return float("nan"), [float("nan")] * 101
    outcomes.sort(key=lambda pair: -pair[0])
    hits, curve = 0, []
    for n, (_, right) in enumerate(outcomes, 1):
        hits += right
        curve.append((hits / boxes, hits / n))
    best = [max((p for r, p in curve if r >= level), default=0.0) for level in np.linspace(0, 1, 101)]
    return sum(best) / 101, best


@pytest.mark.parametrize(("seed", "hard"), [(0, 0.0), (1, 0.0), (2, 0.3), (3, 0.3), (4, 1.0)])
def test_averages_are_those_of_brute_force(seed, hard):
    truth, found = drawn(seed, hard=hard)
    result = score(truth, truth.split["test"], found)
    ious = np.linspace(0.5, 0.95, 10)
    expected = np.array([[average(truth, found, c, iou)[0] for c in range(3)] for iou in ious])
    np.testing.assert_allclose(result.ap, expected.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(result.ap50, expected[0], atol=1e-9)
    if hard < 1:
        np.testing.assert_allclose(
            [result.map, result.map50, result.map75], [expected.mean(), expected[0].mean(), expected[5].mean()], atol=1e-9
        )
    else:
        assert np.isnan([result.map, result.map50]).all()
    for c in range(3):
        np.testing.assert_allclose(result.precision[c], average(truth, found, c, 0.5)[1], atol=1e-9)


def test_some_pictures_in_any_order():
    truth, found = drawn(5)
    chosen = np.array([7, 2, 9], np.int32)
    parts = [np.arange(found.first[i], found.first[i + 1]) for i in chosen.tolist()]
    rows = np.concatenate(parts)
    some = Found(found.boxes[rows], found.labels[rows], found.scores[rows], np.cumsum([0, *map(len, parts)]))
    kept = truth.rows(chosen)
    first = np.cumsum([0, *(truth.first[1:] - truth.first[:-1])[chosen]])
    small = Boxed(
        **{**vars(truth), "boxes": truth.boxes[kept], "labels": truth.labels[kept], "first": first, "files": ["", "", ""]}
    )
    small = Boxed(**{**vars(small), "hard": truth.hard[kept]})
    one, other = score(truth, chosen, some), score(small, np.arange(3), some)
    assert (one.map, one.map50, one.threshold, one.errors) == (other.map, other.map50, other.threshold, other.errors)
    assert one.boxes.tolist() == np.bincount(truth.labels[kept], minlength=3).tolist()


def test_perfect_boxes_score_one_and_none_score_zero():
    truth, _ = drawn(6)
    found = Found(truth.boxes, truth.labels, np.ones(len(truth.boxes)), truth.first)
    result = score(truth, truth.split["test"], found)
    assert (result.map, result.map50, result.threshold) == (1.0, 1.0, 1.0)
    assert set(result.errors.values()) == {0}
    assert np.trace(result.confusion) == result.confusion.sum() == len(truth.boxes)
    none = Found(truth.boxes[:0], truth.labels[:0], np.ones(0), np.zeros(len(truth) + 1, int))
    result = score(truth, truth.split["test"], none)
    assert (result.map, result.map50) == (0.0, 0.0)
    assert result.errors["missed"] == len(truth.boxes)


def test_the_threshold_is_where_f1_is_highest():
    truth, found = drawn(7, noise=1.0)
    result = score(truth, truth.split["test"], found)

    def f1(threshold: float) -> float:
        c = score(truth, truth.split["test"], found, threshold)
        wrong = sum(v for kind, v in c.errors.items() if kind != "missed")
        keep = found.scores >= np.float32(threshold)
        return 2 * (int(keep.sum()) - wrong) / (int(keep.sum()) + len(truth.boxes))

    tried = [f1(float(s)) for s in np.unique(found.scores)]
    assert f1(result.threshold) == pytest.approx(max(tried))


def test_lengths_that_differ_are_refused():
    truth, found = drawn(8)
    with pytest.raises(InputTrouble, match="lengths differ"):
        score(truth, truth.split["test"][:3], found)
    with pytest.raises(InputTrouble, match="lengths differ"):
        score(truth, truth.split["test"], Found(found.boxes[1:], found.labels, found.scores, found.first))
