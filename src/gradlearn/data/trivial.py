"""TrivialAugment: one change for each picture, at random, at a random strength. Nothing to tune.

    op ~ U{14},  level ~ U{0, ..., 30} / 30,  sign ~ U{-1, 1};     picture <- op(picture, level * sign)

Müller and Hutter, arXiv 2103.10158, the "wide" ranges: shear up to 0.99, move up to 32 pixels (at most a side), turn up to 135
degrees, factors of brightness, saturation, contrast and sharpness up to 1 +- 0.99, posterize down to 2 bits, solarize from 255 down
to 0, autocontrast, equalize, identity. What lies outside a picture is its mirror image, not black. Pictures are grouped by what has
to be done: all warps are one pass, all changes of tone one look-up. For tens of epochs and more of photographs and objects; not for
digits, whose shape is turned into another's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.data import tone
from gradlearn.data.colour import recolour, saturation
from gradlearn.data.sharpness import sharpen
from gradlearn.data.warp import move, shear, turn, warp

LEVELS = 31
FAR, STEEP, TURN, FACTOR = 32, 0.99, 135.0, 0.99  # pixels, rows a row, degrees, off a factor of 1
WARPS = ("shear x", "shear y", "move x", "move y", "turn")
TONES = ("brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize")
CHANGES = ("identity", *WARPS, *TONES, "saturation", "sharpness")


def trivial(pixels: Tensor, draw: int, place: np.ndarray, strength: float = 1.0) -> Tensor:
    """Pictures (n, h, w, c) uint8, each changed in one way. `strength`: factor on all levels; `place` (n,): in the batch."""
    which = np.array(CHANGES)[chance.integers(len(CHANGES), draw, "trivial", place)]
    level = np.minimum(chance.integers(LEVELS, draw, "trivial.level", place) / (LEVELS - 1) * strength, 1.0)
    signed = level * np.where(chance.uniform(draw, "trivial.sign", place) < 0.5, -1.0, 1.0)
    return changed(pixels, which, level, signed)


def changed(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    """Pictures (n, h, w, c) uint8, each under the change that is named (n,), at a level (n,) in [0, 1] and with a sign (n,)."""
    out = pixels.clone()
    for names, change in GROUPS:
        rows = np.flatnonzero(np.isin(which, names))
        if len(rows):
            some = pixels.index_select(0, torch.from_numpy(rows))
            # numpy copies whole pictures, PyTorch byte by byte
            out.numpy()[rows] = change(some, which[rows], level[rows], signed[rows]).numpy()
    return out


def _warped(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    return warp(pixels, _maps(which, signed, min(FAR, *pixels.shape[1:3])), smooth=False)


def _toned(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    return tone.look_up(pixels, _tables(pixels, which, level, signed))


def _saturated(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    return recolour(pixels, saturation(1.0 + FACTOR * signed)) if pixels.shape[3] == 3 else pixels


def _sharpened(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    return sharpen(pixels, torch.from_numpy(1.0 + FACTOR * signed))


GROUPS = ((WARPS, _warped), (TONES, _toned), (("saturation",), _saturated), (("sharpness",), _sharpened))


def _maps(which: np.ndarray, signed: np.ndarray, far: int) -> np.ndarray:
    maps, zero = np.empty((len(which), 2, 3)), np.zeros_like(signed)
    made = {
        "shear x": shear(STEEP * signed, zero),
        "shear y": shear(zero, STEEP * signed),
        "move x": move(np.rint(far * signed), zero),
        "move y": move(zero, np.rint(far * signed)),
        "turn": turn(TURN * signed),
    }
    for name, each in made.items():
        maps[which == name] = each[which == name]
    return maps


def _tables(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    tables = torch.empty(len(which), pixels.shape[3], 256, dtype=torch.uint8)
    factor, levels = torch.from_numpy(1.0 + FACTOR * signed).float(), torch.from_numpy(level)
    made: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "brightness": lambda some, rows: tone.brightness(some, factor[rows]),
        "contrast": lambda some, rows: tone.contrast(some, factor[rows]),
        "posterize": lambda some, rows: tone.posterize(some, 8 - (6 * levels[rows]).round().long()),
        "solarize": lambda some, rows: tone.solarize(some, 255.0 * (1.0 - levels[rows])),
        "autocontrast": lambda some, rows: tone.autocontrast(some),
        "equalize": lambda some, rows: tone.equalize(some),
    }
    for name, table in made.items():
        rows = torch.from_numpy(np.flatnonzero(which == name))
        if len(rows):
            tables[rows] = table(pixels.index_select(0, rows), rows)
    return tables
