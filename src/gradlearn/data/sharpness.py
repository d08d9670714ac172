"""Pictures blurred or sharpened.

    out = smooth + f (in - smooth),    smooth = (sum of 3 x 3 + 4 * middle) / 13,   the outermost pixels as they are

f 0 blurs, 1 leaves as it is, 2 sharpens; the kernel is that of Pillow's ImageFilter.SMOOTH. Sums of rows and of columns over whole
bytes; one of the changes of `trivial.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sharpen(pixels: Tensor, factor: Tensor) -> Tensor:
    """Pictures (n, h, w, c) uint8 or float in 0..255; factors (n,)."""
    n, height, width, channels = pixels.shape
    if min(height, width) < 3:
        return pixels
    wide = (pixels if pixels.is_floating_point() else pixels.float()).reshape(n, height, width * channels)
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    inner = wide[:, 1:-1, channels:-channels]
    box = rows[..., : -2 * channels] + rows[..., channels:-channels] + rows[..., 2 * channels :]
    smooth = box.add_(inner, alpha=4.0).mul_(1 / 13)
    out = wide.clone()
    out[:, 1:-1, channels:-channels] = torch.lerp(smooth, inner, factor.to(wide.dtype).view(-1, 1, 1))
    out = out.clamp_(0, 255) if pixels.is_floating_point() else out.round_().clamp_(0, 255).to(pixels.dtype)
    return out.view(n, height, width, channels)
