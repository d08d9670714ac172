"""Pictures turned, zoomed, sheared and moved: each by an affine map of its own, the whole batch in one pass.

    out[i](x, y) = in[i](M_i [x, y, 1]),   x to the right and y down from the middle of the picture, in pixels

Between pixels bilinear, or the nearest pixel; beyond the border the picture is mirrored, its border not doubled (as in `shift.py`).
Turn pictures by a few degrees where the camera was held by hand; by more only where up and down mean nothing.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn import chance


def random_turn(pixels: Tensor, draw: int, place: np.ndarray, degrees: float) -> Tensor:
    """Pictures (n, h, w, c) uint8 or float, each turned by an angle within +-`degrees`. `place` (n,): in the batch."""
    angle = degrees * (2.0 * chance.uniform(draw, "turn", place) - 1.0)
    return warp(pixels, turn(angle)) if degrees else pixels


def warp(pixels: Tensor, maps: np.ndarray, smooth: bool = True) -> Tensor:
    """Pictures (n, h, w, c) uint8 or float under the maps (n, 2, 3) from each new place to the old one."""
    planes = pixels.permute(0, 3, 1, 2)
    mode = "bilinear" if smooth else "nearest"
    wide = planes if pixels.is_floating_point() else planes.float()
    grid = _grid(torch.from_numpy(maps).to(wide.dtype), pixels.shape[1], pixels.shape[2])
    out = F.grid_sample(wide, grid, mode=mode, padding_mode="reflection", align_corners=True)
    out = out if pixels.is_floating_point() else (out.round_() if smooth else out).to(pixels.dtype)
    return torch.stack(out.unbind(1), -1)


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """(n, h, w, 2): where each new pixel comes from, -1 and 1 the middles of the outermost pixels."""
    middle = torch.tensor([max(width - 1, 1) / 2, max(height - 1, 1) / 2], dtype=maps.dtype)
    maps = maps / middle.view(2, 1)
    x = torch.arange(width, dtype=maps.dtype) - (width - 1) / 2
    y = torch.arange(height, dtype=maps.dtype) - (height - 1) / 2
    across, down = maps[:, :, 0, None] * x, maps[:, :, 1, None] * y + maps[:, :, 2, None]  # (n, 2, w), (n, 2, h)
    grid = maps.new_empty(len(maps), height, width, 2)
    for k in range(2):
        torch.add(down[:, k, :, None], across[:, k, None, :], out=grid[..., k])
    return grid


def turn(degrees: np.ndarray) -> np.ndarray:
    """(n, 2, 3): counter-clockwise by so many degrees."""
    a = np.deg2rad(degrees)
    return _maps(np.cos(a), -np.sin(a), np.sin(a), np.cos(a))


def zoom(factor: np.ndarray) -> np.ndarray:
    """(n, 2, 3): so many times larger."""
    zero = np.zeros_like(factor)
    return _maps(1.0 / factor, zero, zero, 1.0 / factor)


def shear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, 2, 3): each row comes from `x` pixels further right for each row further down, each column likewise by `y`."""
    one = np.ones_like(x)
    return _maps(one, x, y, one)


def move(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, 2, 3): by so many pixels to the right and down."""
    one, zero = np.ones_like(x), np.zeros_like(x)
    maps = _maps(one, zero, zero, one)
    maps[:, 0, 2], maps[:, 1, 2] = -x, -y
    return maps


def _maps(xx: np.ndarray, xy: np.ndarray, yx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    zero = np.zeros_like(xx)
    return np.stack([np.stack([xx, xy, zero], -1), np.stack([yx, yy, zero], -1)], -2)
