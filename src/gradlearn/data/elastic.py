"""Warp: a whole batch of pictures, each turned, zoomed, stretched, moved, bent and lit a little in its own way.

    out = m + contrast * (bent - m) + light,   m the mean of the picture,   cut to 0 .. 255
    bent[i, y, x] = in[i] at  A_i (y, x) + b_i + sum_jk B_j(y) B_k(x) z_ijk        bilinear between four pixels, borders mirrored
    A_i = zoom * rotation * stretch,   b_i uniform in [-MOVE, MOVE] of the side,   z_ijk in [-BEND, BEND] of it
    log contrast uniform in [-CONTRAST, CONTRAST],   light in [-LIGHT, LIGHT] of the bytes
    B_j cubic B-splines over a coarse net of points,   sum_j B_j = 1

Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual document analysis", ICDAR 2003,
whose smoothed noise is here a surface over the net: two small products instead of a blur, and no pixel comes from further off
than the net allows. Use it where pictures are few: there it stands for the pictures that are missing. From a few
hundred on moves and mirror images are enough, and cost less. The draws are a function of (draw, place in the batch) alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn import chance

ROTATE = 0.25  # radians each way at strength 1: 14 degrees
ZOOM = 0.15  # log of the zoom each way
STRETCH = 0.1  # log of the ratio of height to width each way
MOVE = 1 / 16  # of the shorter side, each way: less than a pixel of small pictures
BEND = 0.1  # of the shorter side: the largest displacement, each way; a quarter of it is usual
CONTRAST = 0.4  # log of the factor on it each way
LIGHT = 0.15  # of the range of a byte, each way: darker or lighter
CELLS = 3  # between points of the net, along each side


def warp(pixels: Tensor, draw: int, strength: float = 1.0, place: np.ndarray | None = None) -> Tensor:
    """New pictures from (n, h, w, c) uint8; `strength` is a factor on how far each of them is warped, at least 0.

    `place` (n,): of each picture in its batch; None: as they come.
    """
    if strength <= 0.0 or not len(pixels):
        return pixels
    height, width = pixels.shape[1:3]
    unit = torch.tensor([max(width - 1, 1), max(height - 1, 1)]) / 2.0
    place = np.arange(len(pixels)) if place is None else place
    grid = places(place, height, width, draw, strength).flip(3) / unit  # (n, h, w, 2): x, y in [-1, 1]
    bent = F.grid_sample(pixels.permute(0, 3, 1, 2).float(), grid, "bilinear", "reflection", align_corners=True)
    return lit(bent, draw, strength, place).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def lit(pictures: Tensor, draw: int, strength: float, place: np.ndarray) -> Tensor:
    """(n, c, h, w) float32 in 0 .. 255, each with a contrast and a brightness of its own; the argument is changed."""
    drawn = strength * (2.0 * chance.uniform(draw, "light", place[:, None], np.arange(2)[None]) - 1.0)
    each = np.exp(CONTRAST * drawn[:, 0]), 255.0 * LIGHT * drawn[:, 1]
    contrast, light = (torch.from_numpy(of).float().view(-1, 1, 1, 1) for of in each)
    mean = pictures.mean((1, 2, 3), keepdim=True)
    return pictures.sub_(mean).mul_(contrast).add_(mean + light).clamp_(0.0, 255.0)


def places(place: np.ndarray, height: int, width: int, draw: int, strength: float) -> Tensor:
    """(n, h, w, 2) float32: where each pixel of each new picture comes from, (y, x) in pixels from the middle of the old one."""
    n, points, side = len(place), CELLS + 3, min(height, width)
    drawn = chance.uniform(draw, "warp", place[:, None], np.arange(5 + 2 * points**2)[None])
    drawn = strength * (2.0 * drawn - 1.0)  # (n, 5 + 2 points^2) in [-strength, strength)
    angle, zoom, stretch = ROTATE * drawn[:, 0], np.exp(ZOOM * drawn[:, 1]), np.exp(0.5 * STRETCH * drawn[:, 2])
    sine, cosine = zoom * np.sin(angle), zoom * np.cos(angle)
    turn = np.stack([cosine * stretch, sine / stretch, -sine * stretch, cosine / stretch], 1).reshape(n, 2, 2)
    straight = _square(height, width) @ turn.transpose(0, 2, 1) + MOVE * side * drawn[:, None, 3:5]  # (n, h w, 2)
    net = BEND * side * drawn[:, 5:].reshape(n, 2, points, points)
    bent = _splines(height) @ net @ _splines(width).T  # (n, 2, h, w)
    return torch.from_numpy(straight.reshape(n, height, width, 2) + np.moveaxis(bent, 1, 3)).float()


@lru_cache(maxsize=8)
def _square(height: int, width: int) -> np.ndarray:
    """(h w, 2): (y, x) of every pixel, from the middle."""
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


@lru_cache(maxsize=8)
def _splines(size: int) -> np.ndarray:
    """(size, CELLS + 3): the cubic B-splines of a net of CELLS cells, at the middles of so many pixels; rows sum to 1."""
    at = (np.arange(size) + 0.5) / size * CELLS + 1.0  # the net begins one point before the border
    away = np.abs(at[:, None] - np.arange(CELLS + 3))
    near, far = 2.0 / 3.0 - away**2 + away**3 / 2.0, np.clip(2.0 - away, 0.0, None) ** 3 / 6.0
    return np.where(away < 1.0, near, far)
