"""Augmentation: how the pictures of a training batch are changed, in one frozen value with all its dials.

    crop or shift  ->  mirror  ->  warp  ->  turn  ->  trivial  ->  colour  ->  cutout  ->  mixup or cutmix  ->  (pixels, targets)

A dial at 0 does nothing and costs nothing; the value with all at 0 gives the batch as it is. Every draw is a function of (draw,
purpose, place in the batch): the same picture at the same place of the same step is changed in the same way, whatever the size of
the batch or of the parts in which it is changed. Those parts are as large as what a processor core keeps at hand: a batch of large
pictures changed at once would go to memory and back for each operation. What each dial is good for: docs/images.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import Tensor

from gradlearn.data.blend import blend
from gradlearn.data.colour import random_colour
from gradlearn.data.crew import each_of
from gradlearn.data.crop import random_crop
from gradlearn.data.elastic import warp
from gradlearn.data.erase import cutout
from gradlearn.data.shift import flips, shift_mirror
from gradlearn.data.trivial import trivial
from gradlearn.data.warp import random_turn
from gradlearn.errors import InputTrouble

PART = 1 << 21  # bytes of pixels that are changed at once
MOST = 0.95  # share of a picture's area that a crop may cut away, whatever the strength


@dataclass(frozen=True, slots=True)
class Augment:
    """The dials. Their strength, where it has one, is multiplied by the dial `augment` of a run."""

    shift: int = 0  # pixels each way
    mirror: bool = False  # half of the pictures left-right mirrored
    crop: float = 0.0  # largest share of the area that is cut away, in [0, 1)
    warp: float = 0.0  # factor on how far pictures are turned, zoomed, stretched, moved, bent and lit
    rotate: float = 0.0  # degrees each way, at most 180
    trivial: bool = False  # TrivialAugment
    colour: float = 0.0  # factors of brightness, contrast and saturation within 1 +- this
    cutout: int = 0  # side of the covered square, in pixels
    mixup: float = 0.0  # alpha
    cutmix: float = 0.0  # alpha
    size: tuple[int, int] | None = None  # (h, w) of the new pictures; None: as they come

    @property
    def stronger(self) -> bool:
        """Whether a strength changes anything."""
        return bool(self.shift or self.crop or self.warp or self.rotate or self.trivial or self.colour or self.cutout)

    @property
    def alone(self) -> bool:
        """Whether anything changes pictures each by itself."""
        return self.stronger or self.mirror or self.size is not None

    @property
    def blends(self) -> bool:
        """Whether targets become probabilities."""
        return self.mixup > 0.0 or self.cutmix > 0.0


LIMITS = {"crop": 1.0, "warp": 10.0, "rotate": 180.0, "colour": 10.0, "mixup": 100.0, "cutmix": 100.0}
DIALS = tuple(field.name for field in fields(Augment) if field.name != "size")


def augment_of(choices: Mapping[str, Any], size: tuple[int, int]) -> Augment:
    """The dials among these choices, for pictures of this (h, w); raises InputTrouble for one out of range."""
    given: dict[str, Any] = {name: choices[name] for name in DIALS if choices.get(name) is not None}
    for name, below in {"shift": min(size), "cutout": 2 * max(size)}.items():
        if not 0 <= given.get(name, 0) < below:
            what = "the side of a picture" if name == "shift" else "twice the side of a picture"
            raise InputTrouble(f"--{name} {given[name]}: must be from 0 to {below - 1}, less than {what}")
    for name, below in LIMITS.items():
        if not 0.0 <= given.get(name, 0.0) < below:
            raise InputTrouble(f"--{name} {given[name]}: must be at least 0 and less than {below:g}")
    return Augment(**given)


def apply(
    augment: Augment,
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    draw: int,
    strength: float = 1.0,
    flip: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """A batch, changed.

    Args:
        augment: the dials.
        pixels: (n, h, w, c) uint8.
        labels: (n,) int64.
        classes: how many there are.
        draw: the key of every draw.
        strength: factor on what has a strength; at least 0.
        flip: (n,) bool, which pictures are mirrored where `mirror` is on; by chance where it is not given.

    Returns:
        Pixels (n, h, w, c) uint8, and the labels, or (n, classes) float32 probabilities where two pictures were made one.
    """
    if augment.alone and len(pixels):
        step, place = max(PART // pixels[0].numel(), 1), np.arange(len(pixels))
        flip = (flips(draw, place) if flip is None else flip) if augment.mirror else None
        if step >= len(pixels):
            pixels = each(augment, pixels, draw, place, strength, flip)
        else:
            out = pixels.new_empty(len(pixels), *(augment.size or pixels.shape[1:3]), pixels.shape[3])
            cuts = [slice(a, a + step) for a in range(0, len(pixels), step)]
            each_of(lambda cut: out[cut].copy_(each(augment, pixels[cut], draw, place[cut], strength, flip)), cuts)
            pixels = out
    if augment.blends and len(pixels) > 1:
        return blend(pixels, labels, classes, draw, augment.mixup, augment.cutmix)
    return pixels, labels


def each(
    augment: Augment, pixels: Tensor, draw: int, place: np.ndarray, strength: float = 1.0, flip: np.ndarray | None = None
) -> Tensor:
    """Pictures (n, h, w, c) uint8, each changed by itself; `place` (n,): where in its batch it is; `flip`: of the whole batch."""
    shift = min(round(augment.shift * strength), min(pixels.shape[1:3]) // 2)
    if augment.crop or augment.size:
        pixels = random_crop(pixels, draw, place, min(augment.crop * strength, MOST), augment.size)
    if shift or flip is not None:
        pixels = shift_mirror(pixels, draw, place, shift, None if flip is None else flip[place])
    if augment.warp:
        pixels = warp(pixels, draw, augment.warp * strength, place)
    if augment.rotate:
        pixels = random_turn(pixels, draw, place, min(augment.rotate * strength, 180.0))
    if augment.trivial:
        pixels = trivial(pixels, draw, place, strength)
    if augment.colour:
        pixels = random_colour(pixels, draw, place, augment.colour * strength)
    if augment.cutout:
        pixels = cutout(pixels, draw, place, round(augment.cutout * strength))
    return pixels
