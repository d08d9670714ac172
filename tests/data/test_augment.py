"""Augmentation: all dials at 0 is the batch as it is; every picture by its place and draw, whatever the batch around it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradlearn.data import augment as module
from gradlearn.data.augment import DIALS, Augment, apply, augment_of
from gradlearn.errors import InputTrouble
from photographs import made

DIAL = {
    "shift": Augment(shift=2),
    "mirror": Augment(mirror=True),
    "crop": Augment(crop=0.6),
    "warp": Augment(warp=1.0),
    "rotate": Augment(rotate=20.0),
    "trivial": Augment(trivial=True),
    "colour": Augment(colour=0.4),
    "cutout": Augment(cutout=6),
    "mixup": Augment(mixup=0.4),
    "cutmix": Augment(cutmix=1.0),
}
ALL = Augment(shift=2, mirror=True, crop=0.5, warp=0.5, rotate=10.0, trivial=True, colour=0.3, cutout=5)
LABELS = torch.arange(24) % 5
dials = pytest.mark.parametrize("augment", [*DIAL.values(), ALL], ids=[*DIAL, "all"])


def test_every_dial_is_tried_here():
    assert set(DIAL) == set(DIALS)


def test_all_dials_at_zero_give_the_very_batch():
    pixels = made(24, 16, 20)
    out, labels = apply(Augment(), pixels, LABELS, 5, 3)
    assert out is pixels
    assert labels is LABELS


@dials
def test_the_same_draw_is_the_same_batch_and_another_is_not(augment):
    pixels = made(24, 16, 20)
    one, two, other = (apply(augment, pixels, LABELS, 5, draw) for draw in (7, 7, 8))
    assert one[0].dtype == torch.uint8
    assert one[0].shape == pixels.shape
    assert one[0].is_contiguous()
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(pixels, made(24, 16, 20))  # what came in is left alone


@pytest.mark.parametrize("augment", [a for name, a in DIAL.items() if not a.blends] + [ALL])
def test_a_picture_does_not_depend_on_the_batch_or_the_parts(augment, monkeypatch):
    pixels = made(24, 16, 20)
    whole = apply(augment, pixels, LABELS, 5, 7)[0]
    assert torch.equal(apply(augment, pixels[:9], LABELS[:9], 5, 7)[0], whole[:9])
    for part in (1, 5 * 16 * 20 * 3):
        monkeypatch.setattr(module, "PART", part)
        assert torch.equal(apply(augment, pixels, LABELS, 5, 7)[0], whole)


@dials
@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (1, 16, 16, 1), (3, 7, 9, 1)])
def test_batches_of_none_of_one_and_of_grey_pictures(augment, shape):
    n, height, width, channels = shape
    pixels = made(n, height, width, channels) if n else torch.empty(shape, dtype=torch.uint8)
    out, labels = apply(augment, pixels, LABELS[:n], 5, 7)
    assert out.shape == shape
    assert len(labels) == n


def test_labels_become_probabilities_only_where_pictures_are_mixed():
    pixels = made(24, 16, 20)
    for name, augment in DIAL.items():
        labels = apply(augment, pixels, LABELS, 5, 7)[1]
        assert labels.dtype == (torch.float32 if name in ("mixup", "cutmix") else torch.int64)
        assert labels.shape == ((24, 5) if name in ("mixup", "cutmix") else (24,))


def test_strength_multiplies_what_has_one():
    pixels = made(24, 16, 20)
    for name in ("shift", "crop", "rotate", "colour", "cutout"):
        twice = replace(DIAL[name], **{name: getattr(DIAL[name], name) * (1.5 if name == "crop" else 2)})
        strength = 1.5 if name == "crop" else 2.0
        assert torch.equal(apply(DIAL[name], pixels, LABELS, 5, 7, strength)[0], apply(twice, pixels, LABELS, 5, 7)[0])
        assert torch.equal(apply(DIAL[name], pixels, LABELS, 5, 7, 0.0)[0], pixels)
        assert DIAL[name].stronger
    assert DIAL["trivial"].stronger
    assert not DIAL["mixup"].stronger
    assert not DIAL["mirror"].stronger


def test_pictures_of_another_size():
    pixels = made(24, 32, 32)
    for crop in (0.0, 0.4):
        assert apply(Augment(crop=crop, size=(20, 24)), pixels, LABELS, 5, 7)[0].shape == (24, 20, 24, 3)


@pytest.mark.parametrize(
    ("choices", "line"),
    [
        ({"shift": 8}, "--shift 8: must be from 0 to 7, less than the side of a picture"),
        ({"cutout": -1}, "--cutout -1: must be from 0 to 19, less than twice the side of a picture"),
        ({"crop": 1.0}, "--crop 1.0: must be at least 0 and less than 1"),
        ({"rotate": 200.0}, "--rotate 200.0: must be at least 0 and less than 180"),
        ({"mixup": -0.1}, "--mixup -0.1: must be at least 0 and less than 100"),
    ],
)
def test_a_dial_out_of_range_is_refused_in_one_line(choices, line):
    with pytest.raises(InputTrouble) as error:
        augment_of(choices, (8, 10))
    assert str(error.value) == line


def test_dials_are_taken_from_choices_by_name():
    choices = {"shift": 1, "mirror": True, "crop": 0.5, "cutmix": 1.0, "batch": 64, "lr": 0.1}
    assert augment_of(choices, (8, 8)) == Augment(shift=1, mirror=True, crop=0.5, cutmix=1.0)
