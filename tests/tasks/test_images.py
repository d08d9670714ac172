"""The task of pictures: scoring in parts is scoring at once, and no part of large pictures is larger than a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradlearn.classified import log_probabilities
from gradlearn.data.augment import Augment
from gradlearn.data.drawn import PictureData
from gradlearn.data.elastic import warp
from gradlearn.data.images import Pictures
from gradlearn.errors import InputTrouble
from gradlearn.plan import Plan, batch_size, choose_length
from gradlearn.symbols import Now
from gradlearn.tasks import images as module
from gradlearn.tasks.images import Images


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
    monkeypatch.setattr(module, "log_probabilities", lambda model, x, mirror, shift: sizes.append(len(x)) or torch.zeros(len(x), 3))
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


def photographs(side: int, channels: int, **user) -> Images:
    """A task of 40 pictures of so many pixels a side."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, side, side, channels), dtype=np.uint8)
    split = {"train": np.arange(30, dtype=np.int32), "valid": np.arange(30, 40, dtype=np.int32)}
    files = [f"{i}.png" for i in range(40)]
    pictures = Pictures(pixels, (np.arange(40) % 2).astype(np.uint8), ("a", "b"), files, split, "folder", "d", [], "")
    return Images(pictures, Plan({"mirror": True, "warp": 0.0, **user}))


@pytest.mark.parametrize(
    ("side", "channels", "epochs", "user", "chosen"),
    [
        (32, 3, 20.0, {}, Augment(shift=2, mirror=True)),
        (32, 3, 1.5, {}, Augment(mirror=True)),
        (32, 3, 20.0, {"crop": 0.5}, Augment(crop=0.5, mirror=True)),
        (96, 3, 20.0, {}, Augment(crop=0.65, colour=0.2, mirror=True)),
        (96, 3, 3.0, {}, Augment(crop=0.35, colour=0.2, mirror=True)),
        (96, 1, 20.0, {}, Augment(crop=0.65, mirror=True)),
        (96, 3, 20.0, {"crop": 0.0, "colour": 0.0}, Augment(shift=6, mirror=True)),
        (32, 1, 20.0, {"cutmix": 1.0, "trivial": True, "cutout": 8}, Augment(2, True, trivial=True, cutout=8, cutmix=1.0)),
    ],
)
def test_small_pictures_are_shifted_and_large_ones_cropped_unless_the_user_says_otherwise(side, channels, epochs, user, chosen):
    task = photographs(side, channels, **user)
    task.choose_augmentation(epochs)
    assert task.data("train").augment == chosen
    assert task.data("valid").augment == Augment()


def test_mixed_targets_are_trained_on_and_classes_are_scored():
    task = photographs(12, 1, cutmix=1.0, model="convnet", **{"convnet.width": 8})
    data, index = task.data("train"), torch.arange(16)
    batch, plain = data(index, 5), data(index, -1)
    assert batch.y.shape == (16, 2)
    assert torch.equal(plain.y, index % 2)
    losses = task.losses(task.model(0), batch)
    assert losses.total.shape == (16,)
    assert torch.isfinite(losses.total).all()
    assert torch.equal(data(index, 5).x, batch.x)


def test_pictures_in_a_file_are_changed_as_those_in_memory(tmp_path):
    from gradlearn.data.stored import Disk

    task = photographs(24, 3, crop=0.5, colour=0.3, mixup=0.4)
    disk = Disk(40, (24, 24, 3), tmp_path / "pixels")
    disk.put(task.pictures.pixels)
    other = Images(replace(task.pictures, pixels=disk.close()), task.plan)
    index = torch.tensor([3, 29, 0, 3, 17])
    for draw in (-1, 7):
        one, two = (PictureData(t.pictures, t.pictures.split["train"], t.augment())(index, draw) for t in (task, other))
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.y, two.y)


def test_pictures_are_small_in_the_first_part_of_a_run_and_full_in_the_rest():
    task = photographs(32, 3, model="resnet", device="cpu", progressive=True, **{"resnet.precision": "float32"})
    task.choose()
    data, index = task.data("train"), torch.arange(4)
    assert data.until == 0.7
    shapes = []
    for t in (0, 69, 70, 99):
        data.follow(Now(t, 100, 0, 0))
        shapes.append(tuple(data(index, 1).x.shape[2:]))
    assert shapes == [(24, 24), (24, 24), (32, 32), (32, 32)]
    assert data(index, -1).x.shape[2:] == (32, 32)
    data.follow(Now(0, 100, 0, 0))
    assert data(index, -1).x.shape[2:] == (32, 32)


def test_each_picture_is_mirrored_in_every_second_epoch_also_in_a_batch_of_two_epochs():
    task = photographs(32, 3, model="resnet", device="cpu", progressive=False, mirror=True, **{"resnet.precision": "float32"})
    task.choose()
    data = task.data("train")  # 30 pictures
    plain = data(torch.arange(30), -1).x
    seen = []
    for start, index in ((0, torch.arange(30)), (30, torch.arange(30)), (45, torch.cat([torch.arange(15, 30), torch.arange(15)]))):
        data.follow(Now(0, 9, start, 5))
        x = data(index, 1).x
        flip = (x != plain[index]).flatten(1).any(1)
        assert torch.equal(x[flip], plain[index][flip].flip(3))
        seen.append(flip)
    assert torch.equal(seen[0], ~seen[1])
    assert torch.equal(seen[2][:15], seen[1][15:]), "the rest of epoch 1"
    assert torch.equal(seen[2][15:], seen[0][:15]), "epoch 2 is as epoch 0"
    assert 5 < int(seen[0].sum()) < 25
    by_chance = Images(task.pictures, Plan({name: c.value for name, c in task.plan.items()} | {"batches": "balanced"})).data(
        "train"
    )
    assert not by_chance.once


def test_whoever_wants_full_pictures_from_the_start_has_them():
    task = photographs(32, 3, model="resnet", device="cpu", progressive=False, **{"resnet.precision": "float32"})
    task.choose()
    assert task.data("train").until == 0.0
    assert task.data("train")(torch.arange(4), 1).x.shape[2:] == (32, 32)


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
    with pytest.raises(InputTrouble, match=r"--warp -1: must be at least 0 and less than 10"):
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


@pytest.mark.parametrize(
    ("passes", "width"),
    [(7.1, 32), (36.0, 48), (143.0, 80), (2.1, 16), (400.0, 96)],  # about CIFAR-10's 3, 15 and 60 minutes at width 32; the ends
)
def test_the_width_follows_from_the_arithmetic_of_the_networks(passes: float, width: int):
    task = photographs(32, 3, model="resnet", batch=128)
    task.n, pace = 45_000, 1e-3
    task.choose_size_in(passes * task.n * pace, pace)
    assert task.plan["resnet.width"] == width


def test_too_little_for_the_smallest_resnet_is_a_convnet():
    task = photographs(32, 3, batch=128, device="cpu")
    task.choose()
    task.n = 45_000
    task.choose_size_in(0.3 * task.n * 1e-3, 1e-3)
    assert task.plan["model"] == "convnet"
