"""A small convolutional network for pictures, shaped for a CPU: nearly all of its arithmetic is dense 3x3 convolutions.

    x <- (x - mean) * scale                                             (n, c, h, w), uint8 or float in 0..255
    stem    conv 3x3 of stride 2, batch norm, relu                      until at most 16 places a side are left
    stage   conv 3x3, max pool 2, norm, relu, conv 3x3, norm, relu      until 2 places are left, 3 stages at most;
                                                                        channels: width, 2 width, 4 width
    head    the largest answer of each channel over all places, then linear

No residuals, no bias under a norm; pooling before the norm, and convolutions that start as the identity (Dirac), as in
Keller Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498. The stem of stride 2 makes it fast: a quarter
of the places is a quarter of the time. Use it for 6x6 to 128x128 pictures and seconds of one machine; width is the dial between
many epochs and a larger network. `resnet` is the more accurate one where there is time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from gradlearn.errors import InputTrouble

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ConvNet", "plan_layers"]


def plan_layers(shape: tuple[int, int, int], width: int) -> tuple[list[int], list[int]]:
    """Channels after each stem convolution, and after each stage, for pictures of shape (h, w, c)."""
    places, halvings = min(shape[:2]), 0
    while places > 16:
        places, halvings = -(-places // 2), halvings + 1
    stem = [max(8, width >> (halvings - 1 - i)) for i in range(halvings)] or [width]
    stem[-1] = width
    stages: list[int] = []
    while places > 2 and len(stages) < 3:
        stages.append(width << len(stages))
        places = -(-places // 2)
    return stem, stages


class ConvNet(nn.Module):
    """Pictures (n, c, h, w), uint8 or float in 0..255, contiguous or channels_last -> logits (n, classes).

    Args:
        shape: (h, w, c) of a picture; h and w at least 6.
        classes: how many, at least 2.
        width: channels of the first stage; arithmetic grows with its square; take a multiple of 8.

    Raises:
        InputTrouble: a picture too small, no channel, fewer than two classes, or no width.
    """

    mean: Tensor  # (1, c, 1, 1), of the bytes
    scale: Tensor  # (1, c, 1, 1), one over their standard deviation

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 32) -> None:
        super().__init__()
        height, breadth, channels = shape
        if min(height, breadth) < 6 or channels < 1:
            raise InputTrouble(f"ConvNet {shape}: pictures must be at least 6 x 6 with 1 channel; enlarge them")
        if classes < 2 or width < 1:
            raise InputTrouble(f"ConvNet: {classes} classes, width {width}; it takes at least 2 classes and width 1")
        self.shape, self.classes, self.width = tuple(shape), classes, width
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 127.5))
        self.register_buffer("scale", torch.full((1, channels, 1, 1), 1 / 64))
        stem, stages = plan_layers(shape, width)
        stride = 2 if min(height, breadth) > 16 else 1
        layers: list[nn.Module] = []
        last = channels
        for out in stem:
            layers += [nn.Conv2d(last, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            last = out
        for out in stages:
            layers += [_identity_conv(last, out), nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(out), nn.ReLU()]
            layers += [_identity_conv(out, out), nn.BatchNorm2d(out), nn.ReLU()]
            last = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, h, w); returns (n, classes), before the softmax."""
        x = self.features((x.float() - self.mean) * self.scale)
        return self.head(x.amax((2, 3)))

    def calibrate(self, pixels: Tensor) -> None:
        """Measure mean and scale on pictures (n, c, h, w) uint8; deterministic, a few thousand of them are enough."""
        from gradlearn.pixels import scale_of

        mean, scale = scale_of(pixels, self.mean.shape[1])
        with torch.no_grad():
            self.mean.copy_(mean)
            self.scale.copy_(scale)

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one picture forward; a training step costs about 3 times as many a picture."""
        height, breadth, _ = self.shape
        total = self.head.in_features * self.head.out_features
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                step = layer.stride[0]
                height, breadth = -(-height // step), -(-breadth // step)
                total += layer.weight.numel() * height * breadth
            elif isinstance(layer, nn.MaxPool2d):
                height, breadth = -(-height // 2), -(-breadth // 2)
        return total


def _identity_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, no bias; its first min(inputs, outputs) channels start as copies of their inputs, the rest at random."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: min(inputs, outputs)])
    return conv
