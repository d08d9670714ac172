"""The task of pictures: scoring in parts is scoring at once, and no part of large pictures is larger than a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradlearn.data.augment import Augment
from gradlearn.data.images import Pictures
from gradlearn.plan import Plan
from gradlearn.tasks import images as module
from gradlearn.tasks.images import Images, PictureData, log_probabilities


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


def photographs(side: int, channels: int, **user) -> Images:
    """A task of 40 pictures of so many pixels a side."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, side, side, channels), dtype=np.uint8)
    split = {"train": np.arange(30, dtype=np.int32), "valid": np.arange(30, 40, dtype=np.int32)}
    files = [f"{i}.png" for i in range(40)]
    pictures = Pictures(pixels, (np.arange(40) % 2).astype(np.uint8), ("a", "b"), files, split, "folder", "d", [], "")
    return Images(pictures, Plan({"mirror": True, **user}))


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
    task = photographs(32, 3, model="resnet", device="cpu", **{"resnet.precision": "float32"})
    task.choose()
    data, index = task.data("train"), torch.arange(4)
    assert task.plan["progressive"] is True
    assert data.until == 0.7
    shapes = []
    for share in (0.0, 0.69, 0.7, 1.0):
        data.follow(share)
        shapes.append(tuple(data(index, 1).x.shape[2:]))
    assert shapes == [(24, 24), (24, 24), (32, 32), (32, 32)]
    assert data(index, -1).x.shape[2:] == (32, 32)
    data.follow(0.0)
    assert data(index, -1).x.shape[2:] == (32, 32)


def test_whoever_wants_full_pictures_from_the_start_has_them():
    task = photographs(32, 3, model="resnet", device="cpu", progressive=False, **{"resnet.precision": "float32"})
    task.choose()
    assert task.data("train").until == 0.0
    assert task.data("train")(torch.arange(4), 1).x.shape[2:] == (32, 32)
