"""Pictures whose size or shape is far from that of the others: thumbnails among photographs, strips, scans.

    far where area / median area is outside [1/16, 16]  or  (h / w) / median (h / w) outside [1/2.5, 2.5]

What is brought to one size was enlarged from next to nothing, or had most of it cut off. Only where sizes are mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

AREA, SHAPE = 16.0, 2.5  # times the median, or its inverse
FEW = 5  # pictures named


def far(sizes: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Lint rows about pictures of (n, >= 2) sizes, height and width first, that are far from the median."""
    if len(sizes) < 3:
        return []
    h, w = (np.maximum(sizes[:, k], 1).astype(np.float64) for k in (0, 1))
    rows = []
    for what, value, most in (("size", h * w, AREA), ("shape", h / w, SHAPE)):
        ratio = value / np.median(value)
        out = np.flatnonzero((ratio > most) | (ratio < 1.0 / most))
        if len(out):
            worst = out[np.argsort(-np.abs(np.log(ratio[out])), kind="stable")][:FEW]
            examples = [f"{names[i]} ({w[i]:.0f}x{h[i]:.0f})" for i in worst.tolist()]
            told = f"{len(out)} of {len(sizes)} pictures {'has' if len(out) == 1 else 'have'} a {what} far from that of the others"
            row = {"level": "info", "what": told, "count": len(out), "examples": examples}
            rows.append(row | {"name": f"far {what}", "at": [[i] for i in worst.tolist()]})
    return rows
