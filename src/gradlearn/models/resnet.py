"""A residual network for pictures of any size: a first layer that whitens patches, then a few stages of dense 3x3 convolutions.

    x <- (x - mean) * scale                                             (n, c, h, w), uint8 or float in 0..255
    first   whitening filters, frozen, of stride 1 up to 36 pixels a side, else until so many places are left; bias, phi
    stage   x <- phi(norm(max pool 2(conv 3x3 x)));   x <- x + phi(norm(conv 3x3 x))       depth - 1 times the latter
            until 2 places are left, 3 stages at most; channels: width, 4 width, 4 width
    head    the largest answer of each channel over all places, linear, / 9;     phi: relu or gelu (its tanh form)

Whitening (`pixels.py`), convolutions that start as the identity, pooling before the norm and the small logits are Keller Jordan's,
"94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498; residuals: He et al., arXiv 1512.03385. With `bfloat16` its
arithmetic, not its weights, is of half precision: three times as fast on a processor that has it (AMX), the same accuracy. Use it
where there are minutes, or thousands of pictures; width is the dial between many passes and a larger network. `convnet` is faster
and less accurate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from gradlearn.errors import InputTrouble

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ResNet"]

PRECISIONS = ("float32", "bfloat16")
ACTIVATIONS = ("relu", "gelu")
LOGIT = 1 / 9  # of the head's answers: large ones would make the first steps on all below it large


class ResNet(nn.Module):
    """Pictures (n, c, h, w), uint8 or float in 0..255, contiguous or channels_last -> logits (n, classes), float.

    Args:
        shape: (h, w, c) of a picture; h and w at least 6.
        classes: how many, at least 2.
        width: channels of the first stage; arithmetic grows with its square; take a multiple of 8.
        depth: convolutions in a stage, at least 2.
        precision: of the arithmetic: "float32" or "bfloat16".
        activation: "relu" or "gelu"; the latter is a little more accurate and, in narrow networks, a seventh slower.

    Raises:
        InputTrouble: a picture too small, no channel, fewer than two classes, no width, or an unknown precision or activation.
    """

    mean: Tensor  # (1, c, 1, 1), of the bytes
    scale: Tensor  # (1, c, 1, 1), one over their standard deviation
    filters: Tensor  # (k, c, side, side), of the first layer

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        width: int = 32,
        depth: int = 2,
        precision: str = "float32",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        height, breadth, channels = shape
        if min(height, breadth) < 6 or channels < 1:
            raise InputTrouble(f"ResNet {shape}: pictures must be at least 6 x 6 with 1 channel; enlarge them")
        if classes < 2 or width < 1 or depth < 2:
            raise InputTrouble(f"ResNet: {classes} classes, width {width}, depth {depth}; at least 2, 1 and 2 are needed")
        if precision not in PRECISIONS:
            raise InputTrouble(f"--resnet.precision {precision}: not known; it is one of {', '.join(PRECISIONS)}")
        if activation not in ACTIVATIONS:
            raise InputTrouble(f"--resnet.activation {activation}: not known; it is one of {', '.join(ACTIVATIONS)}")
        self.shape, self.classes, self.width = tuple(shape), classes, width
        self.precision, self.activation = precision, activation
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 127.5))
        self.register_buffer("scale", torch.full((1, channels, 1, 1), 1 / 64))
        side, self.stride, last = patch_of(shape)
        self.register_buffer("filters", torch.zeros(last, channels, side, side))
        nn.init.dirac_(self.filters)
        self.bias = nn.Parameter(torch.zeros(last))
        places, stages = (min(height, breadth) - side) // self.stride + 1, []
        for out in (width, 4 * width, 4 * width):
            if places > 2 or not stages:
                stages.append(Stage(last, out, depth, activation))
                last, places = out, -(-places // 2)
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, h, w); returns (n, classes), before the softmax."""
        x = (x.float() - self.mean) * self.scale
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            x = self.stages(phi(F.conv2d(x, self.filters, self.bias, self.stride), self.activation))
        return self.head(x.amax((2, 3)).to(self.head.weight.dtype)) * LOGIT

    def calibrate(self, pixels: Tensor) -> None:
        """Measure scale and filters on pictures (n, c, h, w) uint8; deterministic, a few thousand pictures are enough."""
        from gradlearn.pixels import scale_of, whitening

        mean, scale = scale_of(pixels, self.mean.shape[1])
        with torch.no_grad():
            self.mean.copy_(mean)
            self.scale.copy_(scale)
            z = (pixels.float() - self.mean) * self.scale
            self.filters.copy_(whitening(z, self.filters.shape[2], len(self.filters)))

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one picture forward; a training step costs about 3 times as many a picture."""
        side = self.filters.shape[2]
        height, breadth = ((k - side) // self.stride + 1 for k in self.shape[:2])
        total = self.filters.numel() * height * breadth + self.head.weight.numel()
        for stage in self.stages:
            assert isinstance(stage, Stage)
            for k, conv in enumerate(stage.convs):
                assert isinstance(conv, nn.Conv2d)
                total += conv.weight.numel() * height * breadth
                if k == 0:
                    height, breadth = -(-height // 2), -(-breadth // 2)
        return total


class Stage(nn.Module):
    """Half the places: conv, pool, norm, phi; then `depth` - 1 times x + phi(norm(conv x))."""

    def __init__(self, inputs: int, outputs: int, depth: int, activation: str = "relu") -> None:
        super().__init__()
        self.activation = activation
        self.convs = nn.ModuleList(identity_conv(inputs if k == 0 else outputs, outputs) for k in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / 2, w / 2), rounded up."""
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = conv(x)
            y = phi(norm(y if k else F.max_pool2d(y, 2, ceil_mode=True)), self.activation)
            x = x + y if k else y
        return x


def phi(x: Tensor, activation: str) -> Tensor:
    """What follows a norm, of any shape: "relu", or "gelu" as x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    return F.relu(x) if activation == "relu" else F.gelu(x, approximate="tanh")


def patch_of(shape: tuple[int, int, int], places: int = 36) -> tuple[int, int, int]:
    """(side, stride, filters) of a whitening layer for pictures (h, w, c): about `places` a side are left at most."""
    stride = math.ceil(min(shape[:2]) / places)
    side = 2 if stride == 1 else stride + stride % 2 if stride > 2 else 3
    return side, stride, min(2 * shape[2] * side * side, 64)


def identity_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, no bias; its first min(inputs, outputs) channels start as copies of their inputs, the rest at random."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: min(inputs, outputs)])
    return conv
