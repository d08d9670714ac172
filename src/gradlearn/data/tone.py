"""Changes of tone: everything that makes of each byte another byte, as a table of 256 for each picture and channel.

    out[i, y, x, c] = table[i, c, in[i, y, x, c]]

    brightness  v f                          posterize     v with its lowest 8 - bits bits off
    contrast    m + f (v - m)                solarize      v below the threshold, else 255 - v
    equalize    255 * rank of v              autocontrast  (v - low) 255 / (high - low)

m: mean grey of the picture. The same numbers as Pillow's ImageEnhance and ImageOps, but that the first two are rounded and not cut
off, so that nothing becomes darker on the whole. One look-up for the whole batch, whatever the mixture of changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are seen (ITU-R BT.601)


def look_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Pictures (n, h, w, c) uint8, each channel through its own of the tables (n, c, 256) uint8."""
    n, _, _, channels = pixels.shape
    starts = torch.arange(0, 256 * n * channels, 256, dtype=torch.int32).view(n, 1, 1, channels)
    return tables.reshape(-1).index_select(0, (pixels.to(torch.int32) + starts).view(-1)).view_as(pixels)


def identity(n: int, channels: int) -> Tensor:
    """(n, c, 256): as it is."""
    return _values().to(torch.uint8).expand(n, channels, 256)


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """(n, c, 256) for factors (n,): 0 is black, 1 as it is."""
    return _bytes(_values() * factor.view(-1, 1, 1)).expand(-1, pixels.shape[3], -1)


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """(n, c, 256) for factors (n,): 0 is grey, 1 as it is."""
    middle = torch.floor(greys(pixels) + 0.5).view(-1, 1, 1)
    return _bytes(middle + factor.view(-1, 1, 1) * (_values() - middle)).expand(-1, pixels.shape[3], -1)


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """(n, c, 256) for bits (n,) int64 that are kept, 1 to 8."""
    kept = 256 - 2 ** (8 - bits.view(-1, 1, 1))
    return torch.bitwise_and(torch.arange(256), kept).to(torch.uint8).expand(-1, pixels.shape[3], -1)


def solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    """(n, c, 256) for thresholds (n,): 256 is as it is, 0 a negative."""
    v = _values()
    return torch.where(v < threshold.view(-1, 1, 1), v, 255 - v).to(torch.uint8).expand(-1, pixels.shape[3], -1)


def autocontrast(pixels: Tensor) -> Tensor:
    """(n, c, 256): the darkest value of each channel becomes 0, the brightest 255."""
    low, high = (rows.double().unsqueeze(-1) for rows in ends(pixels))
    scale = torch.full_like(high, 255.0) / (high - low).clamp_min(1.0)  # 255 / x would be 255 times the reciprocal of x
    table = (_values().double() * scale - low * scale).clamp_(0, 255)  # as Pillow counts, to the last bit
    return torch.where(high > low, table, _values().double()).to(torch.uint8)


def equalize(pixels: Tensor) -> Tensor:
    """(n, c, 256): all values of a channel about equally often."""
    counts = histogram(pixels)
    before = counts.cumsum(-1) - counts
    highest = ends(pixels)[1].long().unsqueeze(-1)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, highest)) // 255
    table = (step // 2 + before) // step.clamp_min(1)
    return torch.where(step > 0, table.clamp_max(255), torch.arange(256)).to(torch.uint8)


def histogram(pixels: Tensor) -> Tensor:
    """(n, c, 256) int64: how often each channel of pictures (n, h, w, c) uint8 has each value."""
    n, _, _, channels = pixels.shape
    starts = torch.arange(0, 256 * n * channels, 256).view(n, 1, 1, channels)
    return torch.bincount((pixels + starts).view(-1), minlength=256 * n * channels).view(n, channels, 256)


def ends(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value of each channel: (n, c) each."""
    n, height, width, channels = pixels.shape
    wide = pixels.reshape(n, -1, together(height * width) * channels)
    low, high = (rows.view(n, -1, channels) for rows in (wide.amin(1), wide.amax(1)))
    return low.amin(1), high.amax(1)


def means(pixels: Tensor) -> Tensor:
    """(n, c) float: the mean of each channel of pictures (n, h, w, c)."""
    n, height, width, channels = pixels.shape
    wide = pixels.reshape(n, -1, together(height * width) * channels)
    return means_of(wide if pixels.is_floating_point() else wide.float(), channels)


def greys(pixels: Tensor) -> Tensor:
    """(n,) float: how bright each picture (n, h, w, c) is on the whole."""
    return _bright(means(pixels))


def means_of(wide: Tensor, channels: int) -> Tensor:
    """The same of pictures (n, rows, k c) float, k pixels a row."""
    return wide.mean(1).view(len(wide), -1, channels).mean(1)


def greys_of(wide: Tensor, channels: int) -> Tensor:
    """The same of pictures (n, rows, k c) float, k pixels a row."""
    return _bright(means_of(wide, channels))


def _bright(mean: Tensor) -> Tensor:
    return mean @ torch.tensor(LUMA, dtype=mean.dtype) if mean.shape[1] == 3 else mean.mean(1)


def together(places: int) -> int:
    """So many neighbouring pixels are one row of a matrix: rows of three channels are too short for a processor's vectors."""
    return next(k for k in (16, 8, 4, 2, 1) if places % k == 0)


def _values() -> Tensor:
    return torch.arange(256, dtype=torch.float32)


def _bytes(table: Tensor) -> Tensor:
    return table.round().clamp_(0, 255).to(torch.uint8)
