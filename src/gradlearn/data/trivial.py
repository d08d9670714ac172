"""TrivialAugment: one change for each picture, at random, at a random strength. Nothing to tune.

    op ~ U{14},  level ~ U{0, ..., 30} / 30,  sign ~ U{-1, 1};     picture <- op(picture, level * sign)

Müller and Hutter, arXiv 2103.10158, the "wide" ranges: shear up to 0.99, move up to 32 pixels, turn up to 135 degrees, factors of
brightness, saturation, contrast and sharpness up to 1 +- 0.99, posterize down to 2 bits, solarize from 255 down to 0, autocontrast,
equalize, identity. What lies outside a picture is its mirror image, not black. Pictures are grouped by what has to be done: all
warps are one pass, all changes of tone one look-up. For tens of epochs and more of photographs and objects; not for digits, whose
shape is turned into another's.
"""

from __future__ import annotations

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
    channels = pixels.shape[3]

    def of(*names: str) -> tuple[Tensor, np.ndarray]:
        rows = np.flatnonzero(np.isin(which, names))
        return torch.from_numpy(rows), rows

    index, rows = of(*WARPS)
    if len(rows):
        out[index] = warp(pixels[index], _maps(which[rows], signed[rows]), smooth=False)
    index, rows = of(*TONES)
    if len(rows):
        part = pixels[index]
        out[index] = tone.look_up(part, _tables(part, which[rows], level[rows], signed[rows]))
    index, rows = of("saturation")
    if len(rows) and channels == 3:
        out[index] = recolour(pixels[index], saturation(1.0 + FACTOR * signed[rows]))
    index, rows = of("sharpness")
    if len(rows):
        out[index] = sharpen(pixels[index], torch.from_numpy(1.0 + FACTOR * signed[rows]))
    return out


def _maps(which: np.ndarray, signed: np.ndarray) -> np.ndarray:
    maps, zero = np.empty((len(which), 2, 3)), np.zeros_like(signed)
    made = {
        "shear x": shear(STEEP * signed, zero),
        "shear y": shear(zero, STEEP * signed),
        "move x": move(np.rint(FAR * signed), zero),
        "move y": move(zero, np.rint(FAR * signed)),
        "turn": turn(TURN * signed),
    }
    for name, each in made.items():
        maps[which == name] = each[which == name]
    return maps


def _tables(pixels: Tensor, which: np.ndarray, level: np.ndarray, signed: np.ndarray) -> Tensor:
    tables = torch.empty(len(which), pixels.shape[3], 256, dtype=torch.uint8)
    for name in dict.fromkeys(which.tolist()):
        rows = np.flatnonzero(which == name)
        index, some = torch.from_numpy(rows), pixels[torch.from_numpy(rows)]
        one = torch.from_numpy(1.0 + FACTOR * signed[rows]).float()
        if name == "posterize":
            tables[index] = tone.posterize(some, torch.from_numpy(8 - np.rint(6 * level[rows]).astype(np.int64)))
        elif name == "solarize":
            tables[index] = tone.solarize(some, torch.from_numpy(255.0 * (1.0 - level[rows])))
        else:
            table = getattr(tone, name)
            tables[index] = table(some) if name in ("autocontrast", "equalize") else table(some, one)
    return tables
