"""Changes of colour: brightness, contrast, saturation and hue of each picture, all together one affine map of its pixels.

    x <- A x + b,    x: the c channels of one pixel

    brightness  A = f I                                  saturation  A = f I + (1 - f) 1 w,   w: how bright each channel is seen
    contrast    A = f I,  b = (1 - f) w mean(x)          hue         a turn of the colours about the axis of greys, w x kept

One matrix product for the batch, where one change after the other would pass over the pictures for each. Numbers are rounded and
cut off at 0 and 255 once, at the end; hue is turned in YIQ, as in colour television, and not in HSV: grey stays grey, and bright
stays as bright. Krizhevsky et al., NeurIPS 2012, section 4.1, had the first such augmentation. For photographs, whose light and
camera differ; not where the colour is what tells classes apart.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.data.tone import LUMA, greys_of, together

YIQ = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])


def random_colour(pixels: Tensor, draw: int, place: np.ndarray, strength: float, hue: float = 0.0) -> Tensor:
    """Pictures (n, h, w, c) uint8 or float in 0..255 with other brightness and contrast, and of colours other saturation and hue.

    `strength`: factors are within 1 +- this, not below 0. `hue`: largest turn each way, as a share of a whole one. `place` (n,).
    """
    if not (strength or hue):
        return pixels
    draws = [2.0 * chance.uniform(draw, f"colour.{what}", place) - 1.0 for what in ("bright", "contrast", "saturation", "hue")]
    bright, steep, full = (np.maximum(1.0 + strength * u, 0.0) for u in draws[:3])
    channels = pixels.shape[3]
    maps = np.broadcast_to(np.eye(channels), (len(place), channels, channels))
    if channels == 3:
        maps = saturation(full) @ hues(hue * draws[3]) if hue else saturation(full)
    return recolour(pixels, maps * (bright * steep)[:, None, None], (1.0 - steep) * bright)


def recolour(pixels: Tensor, maps: np.ndarray, grey: np.ndarray | None = None) -> Tensor:
    """Pictures (n, h, w, c) uint8 or float in 0..255: x <- maps x + grey w mean(x), maps (n, c, c) and grey (n,)."""
    n, height, width, channels = pixels.shape
    k = together(height * width)
    wide = pixels.reshape(n, -1, k * channels)
    wide = wide if pixels.is_floating_point() else wide.float()
    blocks = np.zeros((n, k, channels, k, channels))  # k pixels at once, each by the same map, transposed
    blocks[:, np.arange(k), :, np.arange(k)] = maps.transpose(0, 2, 1)
    shift = wide.new_zeros(n, 1, 1)
    if grey is not None:
        shift = (torch.from_numpy(grey).to(wide.dtype) * greys_of(wide, channels)).view(n, 1, 1)
    if not pixels.is_floating_point():
        shift = shift + 0.5  # what is cut off below then rounds
    out = torch.baddbmm(shift, wide, torch.from_numpy(blocks.reshape(n, k * channels, -1)).to(wide.dtype)).clamp_(0, 255)
    return out.to(pixels.dtype).view(n, height, width, channels)


def saturation(factor: np.ndarray) -> np.ndarray:
    """(n, 3, 3) for factors (n,): 0 is grey, 1 as it is."""
    f = factor[:, None, None]
    return f * np.eye(3) + (1.0 - f) * np.array([LUMA])


def hues(turn: np.ndarray) -> np.ndarray:
    """(n, 3, 3) for turns (n,), each a share of a whole one."""
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    maps = np.zeros((len(turn), 3, 3))
    maps[:, 0, 0], maps[:, 1, 1], maps[:, 1, 2], maps[:, 2, 1], maps[:, 2, 2] = 1.0, cos, -sin, sin, cos
    return np.linalg.inv(YIQ) @ maps @ YIQ
