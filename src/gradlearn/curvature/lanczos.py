"""Lanczos: both ends of the spectrum of a symmetric matrix that is known by its products only.

    H V = V T + beta v e',   T s = theta s,   |H (V s) - theta (V s)| = beta |s_last|

Every new vector is made orthogonal to all kept ones twice (full re-orthogonalisation: no ghosts); where the room is used up the
outermost Ritz vectors are kept and the rest dropped (thick restart: Wu, Simon, SIAM J. Matrix Anal. Appl. 2000). Use it where n is
too large for a dense matrix. A smallest eigenvalue found is an upper bound of the true one: a negative one is a proof, a positive
one is evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gradlearn import chance


class Ritz(NamedTuple):
    """Approximate eigenpairs, rising."""

    values: Tensor  # (k,)
    vectors: Tensor  # (k, n): rows, orthonormal
    residuals: Tensor  # (k,) |H v - theta v|
    products: int
    converged: bool  # both ends to the tolerance


def lanczos(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    room: int = 40,
    products: int = 400,
    tol: float = 1e-6,
    keep: int = 12,
    seed: int = 0,
) -> Ritz:
    """The ends of the spectrum.

    Args:
        product: v (n,) -> H v (n,).
        start: (n,) where the Krylov space begins; a zero vector asks for a random one. It sets dtype and device.
        room: vectors kept at once, at least keep + 4 where n allows it.
        products: at most so many.
        tol: both ends are done at a residual of tol times the largest |theta|.
        keep: Ritz vectors that survive a restart, half from each end.
        seed: of the random start and of what is drawn where the space is invariant.
    """
    n = len(start)
    room = min(max(room, keep + 4), n)
    V = start.new_zeros(room + 1, n)
    T = torch.zeros(room, room, dtype=torch.float64)
    V[0] = _fresh(V[:0], start, seed, 0) if not bool(start.any()) else start / torch.linalg.vector_norm(start)
    used = kept = 0
    while True:
        beta = 0.0
        for j in range(kept, room):
            w = product(V[j]).to(V)
            used += 1
            h = torch.zeros(j + 1, dtype=V.dtype, device=V.device)
            scale = torch.linalg.vector_norm(w)
            for _ in range(2):
                part = V[: j + 1] @ w
                w, h = w - part @ V[: j + 1], h + part
            T[: j + 1, j] = T[j, : j + 1] = h.to(T)
            beta = float(torch.linalg.vector_norm(w))
            if j + 1 == n:
                beta = 0.0
            elif beta <= 10 * torch.finfo(V.dtype).eps * float(scale):  # an invariant space: go on in another one
                beta, V[j + 1] = 0.0, _fresh(V[: j + 1], start, seed, used)
            else:
                V[j + 1] = w / beta
            if used >= products and j + 1 < room:
                return _ritz(V[: j + 1], T[: j + 1, : j + 1], beta, used, tol)
        found = _ritz(V[:room], T, beta, used, tol)
        if found.converged or room == n or used >= products:
            return found
        ends = torch.cat([torch.arange(keep // 2), torch.arange(room - (keep - keep // 2), room)])
        last, kept = V[room].clone(), keep
        V[:kept], V[kept] = found.vectors[ends], last
        T.zero_()
        T[range(kept), range(kept)] = found.values[ends].to(T)


def _ritz(V: Tensor, T: Tensor, beta: float, used: int, tol: float) -> Ritz:
    theta, s = torch.linalg.eigh(T)
    residuals = beta * s[-1].abs()
    limit = tol * float(theta.abs().max())
    done = bool(residuals[0] <= limit and residuals[-1] <= limit)
    return Ritz(theta, s.T.to(V) @ V, residuals, used, done)


def _fresh(V: Tensor, like: Tensor, seed: int, count: int) -> Tensor:
    """A random unit vector orthogonal to the rows of V."""
    generator = torch.Generator().manual_seed(chance.key(seed, "lanczos", count))
    v = torch.randn(len(like), generator=generator, dtype=torch.float64).to(like)
    for _ in range(2):
        v = v - (V @ v) @ V
    return v / torch.linalg.vector_norm(v)
