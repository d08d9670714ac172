"""The task of pictures: scoring in parts is scoring at once, and no part of large pictures is larger than a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlearn.data.images import Pictures
from gradlearn.plan import Plan
from gradlearn.tasks import images as module
from gradlearn.tasks.images import Images, log_probabilities


@pytest.fixture
def task():
    draw = np.random.default_rng(0)
    pixels, labels = draw.integers(0, 256, (90, 12, 12, 1), dtype=np.uint8), (np.arange(90) % 3).astype(np.uint8)
    split = {"train": np.arange(50, dtype=np.int32), "valid": np.arange(50, 90, dtype=np.int32)[::-1].copy()}
    files = [f"{i}.png" for i in range(90)]
    pictures = Pictures(pixels, labels, ("a", "b", "c"), files, split, "folder", "d", [], "")
    return Images(pictures, Plan({"batch": 16, "model": "convnet", "convnet.width": 16, "mirror_score": True}))


def test_outputs_in_parts_are_the_outputs_at_once(task, monkeypatch):
    model, data = task.model(0).eval(), task.data("valid")
    whole = data(torch.arange(len(data)), -1)
    with torch.no_grad():
        expected = log_probabilities(model, whole.x, True)
        for part in (1 << 18, 12 * 12 * 7, 1):  # in one, in parts of 7, one by one
            monkeypatch.setattr(module, "PART", part)
            logp, labels = task.outputs(model, data)
            torch.testing.assert_close(logp, expected, rtol=1e-5, atol=1e-5)
            assert torch.equal(labels, whole.y)
            assert labels.tolist() == [i % 3 for i in range(89, 49, -1)]


def test_no_part_of_large_pictures_is_larger_than_a_batch(task, monkeypatch):
    sizes = []
    monkeypatch.setattr(module, "log_probabilities", lambda model, x, mirror: sizes.append(len(x)) or torch.zeros(len(x), 3))
    for part, largest in ((12 * 12 * 500, 40), (12 * 12 * 499, 16), (12 * 12 * 5, 5)):  # the data have 40, a batch 16
        sizes.clear()
        monkeypatch.setattr(module, "PART", part)
        task.outputs(torch.nn.Identity(), task.data("valid"))
        assert (max(sizes), sum(sizes)) == (largest, 40)


def test_a_batch_of_small_labels_and_rows_is_int64(task):
    batch = task.data("valid")(torch.tensor([3, 0]), -1)
    assert batch.y.dtype == batch.index.dtype == torch.int64
    assert batch.index.tolist() == [86, 89]
    assert batch.y.tolist() == [86 % 3, 89 % 3]


def test_means_over_classes_are_scored_only_where_classes_are_uneven(task):
    model = task.model(0).eval()
    with torch.no_grad():
        assert set(task.score(model, task.data("valid")).all) == {"accuracy", "loss", "loss_error"}
        task.pictures.labels[:40] = 0
        uneven = Images(task.pictures, task.plan)
        score = uneven.score(model, uneven.data("valid"))
    logp, labels = uneven.scored[1:]
    right = logp.argmax(1) == labels
    recall = [right[labels == k].double().mean().item() for k in range(3)]
    assert score.all["balanced_accuracy"] == pytest.approx(sum(recall) / 3)
    assert 0.0 <= score.all["macro_f1"] <= 1.0
    assert score.value == score.all["accuracy"]
