"""Pictures to change: smooth in places, noisy in others, of any size and number of channels."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def made(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """(n, h, w, c) uint8."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slope, phase = draw.uniform(0.05, 0.4, (2, n, 1, 1, channels)), draw.uniform(0, 6, (n, 1, 1, channels))
    waves = 127 + 90 * np.sin(slope[0] * x[..., None] + slope[1] * y[..., None] + phase)
    return torch.from_numpy(np.clip(waves + draw.normal(0, 12, waves.shape), 0, 255).astype(np.uint8))


def shown(picture: Tensor) -> Image.Image:
    """One picture (h, w, c) as Pillow has it."""
    return Image.fromarray(picture[:, :, 0].numpy() if picture.shape[2] == 1 else picture.numpy())


def back(image: Image.Image) -> Tensor:
    """A Pillow image as a picture (h, w, c)."""
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1))


def apart(one: Tensor, other: Tensor) -> int:
    """The largest difference of two pictures of bytes."""
    return int((one.int() - other.int()).abs().max())
