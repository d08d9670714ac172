"""The task of pictures: scoring in parts is scoring at once, and no part of large pictures is larger than a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlearn.data.images import Pictures
from gradlearn.data.warp import warp
from gradlearn.errors import InputTrouble
from gradlearn.plan import Plan, batch_size, choose_length
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


def drawn(n: int, user: dict | None = None, few: int = 0) -> Images:
    """The task of n training pictures with all of its augmentation chosen."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, 12, 12, 1), dtype=np.uint8)
    split = {name: np.arange(k, dtype=np.int32) for name, k in (("train", n), ("valid", few), ("test", few))}
    pictures = Pictures(pixels, (np.arange(n) % 3).astype(np.uint8), ("a", "b", "c"), [""] * n, split, "folder", "d", [], "")
    task = Images(pictures, Plan(user))
    task.choose()
    choose_length(task.plan, n, task.suggested_epochs(n))
    task.choose_augmentation(task.plan["steps"] * batch_size(task.plan, n) / n)
    return task


@pytest.mark.parametrize("n", [3, 63, 64, 65, 400, 427, 499])
def test_few_pictures_are_warped_and_seen_in_400_steps_or_sixty_passes(n):
    plan = drawn(n).plan
    assert (plan["warp"] > 0.0, plan["shift"]) == (True, 0)
    assert 400 <= plan["steps"] <= max(400 * 1.02, 60 * n / min(n, 64) + 1)


def test_from_500_pictures_on_they_are_shifted_and_seen_sixty_times():
    plan = drawn(500).plan
    assert (plan["warp"], plan["shift"], plan["epochs"]) == (0.0, 1, 60)


def test_what_was_asked_for_of_few_pictures_stays():
    plan = drawn(20, {"warp": 0.0, "steps": 30}).plan
    assert (plan["warp"], plan["shift"], plan["steps"], "epochs" in plan) == (0.0, 1, 30, False)
    assert drawn(20, {"epochs": 2.0}).plan["steps"] == 2
    with pytest.raises(InputTrouble, match=r"--warp -1: must be a finite number of at least 0"):
        drawn(20, {"warp": -1})


def test_only_what_is_trained_on_is_warped_by_the_plan_and_by_the_dial():
    task = drawn(20, few=5)
    index, data, held = torch.arange(5), task.data("train"), task.held("test")
    plain = data(index, -1).x
    assert held is not None
    assert torch.equal(held(index, 7).x, plain)
    once = data(index, 7).x
    assert torch.equal(once, data(index, 7).x)
    assert not torch.equal(once, plain)
    expected = warp(plain.permute(0, 2, 3, 1), 7, 1.5 * task.plan["warp"]).permute(0, 3, 1, 2)
    data.strength = 1.5
    assert torch.equal(data(index, 7).x, expected)
    assert drawn(20).held("valid") is None
