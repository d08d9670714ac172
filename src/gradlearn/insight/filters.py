"""What the first layer looks for: the kernels of the first convolution that sees the picture, each as a small picture.

A kernel is drawn from its lowest (dark) to its highest value (bright) about a middle grey that is zero; of colour pictures in
colour. Kernels of three by three pixels tell edges and spots of light or colour and little more; the larger, the more there is to
see. For networks whose first layer is no plane convolution of one or three channels there is nothing to draw.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

MOST = 64  # filters shown
ZERO = 128


class First(NamedTuple):
    """The first layer's filters."""

    name: str  # of the layer, or of the tensor where it is a module's own
    weight: Tensor  # (k, c, h, w)
    frozen: bool  # not trained


def first(model: nn.Module, channels: int) -> First | str:
    """The first filters, in the order of definition, that see `channels` of a picture; else the reason why none can be drawn.

    Those of a convolution, or a module's own tensor or buffer of that shape (fixed filters).
    """
    for name, module in model.named_modules():
        own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        for key, value in own.items():
            if value.ndim == 4 and len(value) > 1 and value.shape[1] == channels in (1, 3) and max(value.shape[2:]) > 1:
                place = name if isinstance(module, nn.Conv2d) else f"{name}.{key}".lstrip(".")
                return First(place, value, not value.requires_grad)
    name, layer = next(((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if layer is None:
        return "the model has no convolution"
    if max(layer.weight.shape[2:]) < 2:
        return f"the first convolution, {name}, is one pixel wide"
    return f"the first convolution, {name}, looks at {layer.in_channels} channels, which are not those of a picture"


def order(weight: Tensor) -> list[int]:
    """The filters (k, c, h, w) to show, strongest first."""
    strength = weight.detach().double().flatten(1).norm(dim=1)
    return strength.argsort(descending=True, stable=True)[:MOST].tolist()


def sheet(weight: Tensor, chosen: list[int]) -> np.ndarray:
    """The chosen filters of (k, c, h, w) on one sheet with clear gaps, row by row: (h', w', 4) uint8."""
    kernels = weight.detach().float().cpu().numpy()[chosen]
    k, c, h, w = kernels.shape
    across = columns(k)
    down = -(-k // across)
    out = np.zeros((down * (h + 1) - 1, across * (w + 1) - 1, 4), np.uint8)
    most = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    grey = np.rint(ZERO + 127.0 * kernels / np.maximum(most, 1e-30)).astype(np.uint8)
    for i, kernel in enumerate(grey):
        top, left = (i // across) * (h + 1), (i % across) * (w + 1)
        out[top : top + h, left : left + w, :3] = kernel.transpose(1, 2, 0) if c == 3 else kernel[0][:, :, None]
        out[top : top + h, left : left + w, 3] = 255
    return out


def columns(k: int) -> int:
    """Filters in a row of the sheet."""
    return min(k, 8 if k <= 32 else 16) if k > 6 else k


def changed(before: Tensor, after: Tensor) -> float | None:
    """How far the filters moved, over how long they were; None where they began as nothing."""
    length = torch.linalg.vector_norm(before.double()).item()
    moved = torch.linalg.vector_norm(after.detach().double() - before.detach().double()).item()
    return moved / length if length > 0.0 and math.isfinite(moved) else None
