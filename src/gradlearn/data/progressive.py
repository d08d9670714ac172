"""Progressive resizing: small pictures at the start of a run, full ones at its end.

    side(share) = full * (first + (1 - first) min(share / until, 1)),   in multiples of `step`, at most `full`

Half the side is a quarter of the arithmetic, and what is learned first is coarse. For networks that take any size (a pooling over
all places before the last layer) on pictures of 64 pixels and more; the last part of the run sees full pictures, so that the
statistics of the norms are theirs. Tan and Le, "EfficientNetV2", arXiv 2104.00298, section 4. `Augment.size` takes what this gives.
"""

from __future__ import annotations


def side_at(share: float, full: int, first: float = 0.6, until: float = 0.8, step: int = 8) -> int:
    """Side in pixels of the pictures at this share of the run, in [0, 1], where they have `full` at the end.

    `first`: the side at the start, as a share of `full`, in (0, 1]. `until`: share of the run after which pictures are full.
    """
    grown = min(share / until, 1.0) if until > 0.0 else 1.0
    side = full * (first + (1.0 - first) * grown)
    return full if grown == 1.0 else min(max(step * round(side / step), step), full)
