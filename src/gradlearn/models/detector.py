"""A detector for pictures: one stage, no anchor boxes; every place of every level says what is there, and how far its sides are.

    x <- (x - mean) * scale                                                  (n, c, h, w), uint8 or float in 0..255
    stem     blocks of 4 x 4 pixels as channels, conv 3x3                    stride 4
    stages   conv 3x3 of stride 2, residual blocks of two convs 3x3          strides 8, 16, ...: channels 2, 4, 8 width
    pyramid  every level + the coarser ones, then + the finer ones           Lin et al., arXiv 1612.03144; Liu et al., 1803.01534
    head     two convs 3x3 for all levels, norms of each level's own; then   Tian et al., FCOS, arXiv 1904.01355
             scores (classes) and log of the distances to the four sides, in strides

Nearly all of its arithmetic is dense 3x3 convolutions, which is what a processor is fast at; with `bfloat16` its
arithmetic, not its weights, is of half precision. For pictures of 100 to 1,500 pixels a side, and objects of at least 6 pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from gradlearn.errors import InputTrouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Detector", "Places", "decode", "places"]

PRECISIONS = ("float32", "bfloat16")
STRIDES = (4, 8, 16, 32, 64)
MULTIPLES = (1, 2, 4, 8, 8)  # of the width: channels of each stride
DEPTHS = (1, 2, 2, 1, 1)  # residual blocks of each stride
PRIOR = 0.02  # score of every class everywhere before training
REACH = 2.0  # strides from a place to each side of its box, before training
FAR = 6.0  # log of the largest distance, in strides


class Places(NamedTuple):
    """Where the answers of a detector are, for pictures of one size: all places of the first level, row by row, then the next."""

    centres: Tensor  # (a, 2) x, y in pixels
    strides: Tensor  # (a,) float32
    shapes: tuple[tuple[int, int], ...]  # (h, w) of each level


class Detector(nn.Module):
    """Pictures (n, c, h, w), uint8 or float in 0..255, of any size -> for each level (n, classes + 4, h / stride, w / stride).

    Args:
        shape: (h, w, c) of the pictures it is meant for, at least 32 x 32; only `multiplications` depends on h and w.
        classes: how many, at least 1.
        width: channels at stride 4; arithmetic grows with its square; take a multiple of 8.
        strides: of the levels, each twice the one before, out of 4, 8, 16, 32, 64.
        precision: of the arithmetic: "float32" or "bfloat16".

    Raises:
        InputTrouble: a picture too small, no channel, class or width, other strides, or an unknown precision.
    """

    mean: Tensor  # (1, c, 1, 1), of the bytes
    scale: Tensor  # (1, c, 1, 1), one over their standard deviation

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        width: int = 32,
        strides: Sequence[int] = (8, 16, 32),
        precision: str = "float32",
    ) -> None:
        super().__init__()
        height, breadth, channels = shape
        first = STRIDES.index(strides[0]) if strides and strides[0] in STRIDES else -1
        if first < 0 or tuple(strides) != STRIDES[first : first + len(strides)]:
            raise InputTrouble(f"--detector.strides {list(strides)}: each must be twice the one before, from {STRIDES}")
        if min(height, breadth) < 32 or channels < 1:
            raise InputTrouble(f"Detector {shape}: pictures must be at least 32 x 32 with 1 channel; enlarge them")
        if classes < 1 or width < 1:
            raise InputTrouble(f"Detector: {classes} classes, width {width}; it takes at least 1 class and width 1")
        if precision not in PRECISIONS:
            raise InputTrouble(f"--detector.precision {precision}: not known; it is one of {', '.join(PRECISIONS)}")
        self.shape, self.classes, self.width, self.strides, self.precision = tuple(shape), classes, width, tuple(strides), precision
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 127.5))
        self.register_buffer("scale", torch.full((1, channels, 1, 1), 1 / 64))
        depth = first + len(strides)
        sizes = [width * m for m in MULTIPLES[:depth]]
        neck = 2 * width
        self.stem = _conv(16 * channels, width)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *([_conv(sizes[k - 1], sizes[k], stride=2)] if k else []), *(_Residual(sizes[k]) for _ in range(DEPTHS[k]))
            )
            for k in range(depth)
        )
        self.first = first
        levels = len(strides)
        self.sides = nn.ModuleList(nn.Conv2d(size, neck, 1) for size in sizes[first:])
        self.up = nn.ModuleList(_conv(neck, neck) for _ in range(levels - 1))
        self.down = nn.ModuleList(_conv(neck, neck, stride=2) for _ in range(levels - 1))
        self.head = nn.ModuleList(_OfLevels(neck, levels) for _ in range(2))
        self.predict = nn.Conv2d(neck, classes + 4, 1)
        with torch.no_grad():
            nn.init.normal_(self.predict.weight, std=0.01)
            assert self.predict.bias is not None
            self.predict.bias[:classes].fill_(math.log(PRIOR / (1.0 - PRIOR)))
            self.predict.bias[classes:].fill_(math.log(REACH))

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: (n, c, h, w); returns raw answers of each level, finest first: `decode` says what they mean."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self._answers(blocks((x.float() - self.mean) * self.scale))

    def _answers(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for k, stage in enumerate(self.stages):
            x = stage(x)
            if k >= self.first:
                found.append(self.sides[k - self.first](x))
        for k in range(len(found) - 2, -1, -1):
            coarser = F.interpolate(found[k + 1], size=found[k].shape[2:], mode="nearest")
            found[k] = self.up[k](F.relu(found[k] + coarser))
        found[-1] = F.relu(found[-1]) if len(found) == 1 else found[-1]
        for k in range(1, len(found)):
            found[k] = found[k] + self.down[k - 1](found[k - 1])
        for layer in self.head:
            found = layer(found)
        return [self.predict(x) for x in found]

    def calibrate(self, pixels: Tensor) -> None:
        """Measure the scale of the channels on pictures (n, c, h, w) uint8; deterministic, a few dozen are enough."""
        from gradlearn.pixels import scale_of

        mean, scale = scale_of(pixels, self.mean.shape[1])
        with torch.no_grad():
            self.mean.copy_(mean)
            self.scale.copy_(scale)

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one picture forward; a training step costs about 3 times as many a picture."""
        return sum(weight * places for weight, places in self._work())

    def _work(self) -> list[tuple[int, int]]:
        """(weights, places) of the convolutions of each part, as often as it runs."""
        height, breadth, _ = self.shape
        places = [-(-height // s) * -(-breadth // s) for s in STRIDES[: len(self.stages)]]
        rows = [(weights(self.stem), places[0])]
        rows += [(weights(stage), at) for stage, at in zip(self.stages, places, strict=True)]
        every = weights(self.head) + weights(self.predict)
        at_levels = places[self.first :]
        rows += [(weights(side) + every, at) for side, at in zip(self.sides, at_levels, strict=True)]
        rows += [(weights(up), at) for up, at in zip(self.up, at_levels[:-1], strict=True)]
        return rows + [(weights(down), at) for down, at in zip(self.down, at_levels[1:], strict=True)]


def weights(module: nn.Module) -> int:
    """Of all convolutions in it."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """x + f(x), with f zero before training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = _conv(channels, channels)
        self.two = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.two(self.one(x))))


class _OfLevels(nn.Module):
    """One convolution for all levels, whose answers differ in scale: each level has a norm of its own."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(levels))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return [F.relu(norm(self.conv(x))) for norm, x in zip(self.norms, levels, strict=True)]


def blocks(x: Tensor, side: int = 4) -> Tensor:
    """(n, c, h, w) -> (n, c side^2, h / side, w / side), channels last in memory; zeros fill up to the right and below."""
    n, c, height, width = x.shape
    if height % side or width % side:
        x = F.pad(x, (0, -width % side, 0, -height % side))
    rows, columns = -(-height // side), -(-width // side)
    x = x.reshape(n, c, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(n, rows, columns, c * side * side).permute(0, 3, 1, 2)


def places(answers: Sequence[Tensor], strides: Sequence[int]) -> Places:
    """Where the answers of these levels are."""
    centres, of = [], []
    for answer, stride in zip(answers, strides, strict=True):
        height, width = answer.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres.append(((torch.stack([x, y], -1) + 0.5) * stride).view(-1, 2))
        of.append(torch.full((height * width,), float(stride)))
    shapes = tuple((int(a.shape[2]), int(a.shape[3])) for a in answers)
    device = answers[0].device
    return Places(torch.cat(centres).to(device), torch.cat(of).to(device), shapes)


def decode(answers: Sequence[Tensor], at: Places) -> tuple[Tensor, Tensor]:
    """Raw answers -> scores before the sigmoid (n, a, classes), and boxes (n, a, 4) x1, y1, x2, y2 in pixels; float32."""
    flat = torch.cat([a.float().flatten(2) for a in answers], 2).transpose(1, 2)
    reach = flat[..., -4:].clamp(max=FAR).exp() * at.strides[:, None]  # left, up, right, down
    return flat[..., :-4], torch.cat([at.centres - reach[..., :2], at.centres + reach[..., 2:]], -1)
