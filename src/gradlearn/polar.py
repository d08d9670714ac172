"""The polar factor of matrices by Newton-Schulz: U S V^T -> about U V^T, with matrix products alone.

    x <- x / ||x||_F;   x <- (c1 + c3 x x^T + c5 (x x^T)^2) x,  a few times

Jordan et al., "Muon", 2024 ("classic": singular values end in about [0.7, 1.2]); Amsel et al., "The Polar Express", 2025
([0.9, 1.1], at equal cost). A batch at a time, in pieces that stay in a core's cache. In float32, unless asked otherwise: a
processor with AMX is several times as fast in bfloat16, one without instructions for it needs 50 times as long. For the updates
that make a momentum orthogonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PIECE = 1 << 15  # elements of a batch worked on at once

COEFFICIENTS = {  # (a, b, c) of each step; the last one is repeated
    "classic": ((3.4445, -4.7750, 2.0315),),
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
}


def orthogonalise_(x: Tensor, steps: int = 5, coefficients: str = "classic", precision: str = "float32") -> Tensor:
    """Each matrix of (n, rows, columns) in place: U S V^T -> about U V^T.

    Singular values below about 1/500 of the norm end lower. The small side is multiplied; float32 differs from float64 by about
    1e-5 of the largest entry, by 1e-3 where a long matrix has hardly any small singular values of its own. With `precision`
    "bfloat16" the products are of that, and of the whole matrix: those of x x^T alone would run away by its rounding.
    """
    half = precision == "bfloat16"
    plan = [COEFFICIENTS[coefficients][min(k, len(COEFFICIENTS[coefficients]) - 1)] for k in range(steps)]
    safety = 1.02 if coefficients == "polar_express" else 1.0
    wide = x.mT if x.shape[1] > x.shape[2] else x
    n, rows, columns = wide.shape
    long = columns > 3 * rows and not half
    piece = min(n, max(1, PIECE // (rows * (rows if long else columns))))
    thin, small = (rows, columns), (rows, rows)
    shapes = (thin, thin, small, small, *([small, small] if long else []))
    buffers = [x.new_empty(piece, *shape, dtype=torch.bfloat16 if half else x.dtype) for shape in shapes]
    for part in wide.split(piece):
        a, b, *rest = (buffer[: part.shape[0]] for buffer in buffers)
        torch.div(part, torch.linalg.vector_norm(part, dim=(1, 2), keepdim=True).mul_(safety).clamp_(min=1e-7), out=a)
        part.copy_(_small_side(a, b, rest, plan) if long else _both_sides(a, b, rest, plan))
    return x


def _both_sides(a: Tensor, b: Tensor, small: list[Tensor], plan: Sequence[tuple[float, float, float]]) -> Tensor:
    """The iteration as it is written."""
    gram, poly = small
    for c1, c3, c5 in plan:
        torch.bmm(a, a.mT, out=gram)
        torch.baddbmm(gram, gram, gram, beta=c3, alpha=c5, out=poly)
        torch.baddbmm(a, poly, a, beta=c1, out=b)
        a, b = b, a
    return a


def _small_side(a: Tensor, b: Tensor, small: list[Tensor], plan: Sequence[tuple[float, float, float]]) -> Tensor:
    """The same on x x^T alone, for long matrices: the product of the polynomials is gathered, and meets x once in five steps.

    Not later: below zero, where rounding may put the smallest eigenvalues of x x^T, the iteration runs away from step eight on.
    """
    gram, poly, product, other = small
    for start in range(0, len(plan), 5):
        torch.bmm(a, a.mT, out=gram)
        for k, (c1, c3, c5) in enumerate(plan[start : start + 5]):
            torch.baddbmm(gram, gram, gram, beta=c3, alpha=c5, out=poly)
            poly.diagonal(dim1=1, dim2=2).add_(c1)
            if k == 0:
                product.copy_(poly)
            else:
                torch.bmm(poly, product, out=other)
                product, other = other, product
            if k < 4:
                torch.bmm(gram, poly, out=other)
                torch.bmm(other, poly, out=gram)
        torch.bmm(product, a, out=b)
        a, b = b, a
    return a
