"""Point: what a place in the landscape is like, and what is gained along the gradient and along negative curvature.

    H v = lambda v  (both ends of the spectrum, by Lanczos),   gain(d) = L(theta) - min over k of L(theta + |theta| / 1000 * 3^k d)

Curvature on one sample, gains on another: networks have directions of negative curvature all the time, of which only those count
that lower the loss of other examples. `downhill` asks what some steps on large batches would gain. For the question whether a run
that stands still is at a saddle, on a plateau or at a minimum; about as much work as a hundred steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature.derivatives import Hessian, value_and_grad
from gradlearn.curvature.lanczos import lanczos
from gradlearn.curvature.landscape import LossFunction
from gradlearn.symbols import Batch, Objective

HALVES = 12  # times a step is made half as long, at most

__all__ = ["around", "downhill"]


def around(objective: Objective, examples: int, products: int) -> dict[str, float]:
    """What a point is like.

    "loss" of the second sample, on which gains are counted; "other": with targets of others; "gradient" (its norm) and both ends
    of the spectrum on the first; "agree": cosine of the two gradients; "slope": the first times the length of theta; "along" the
    direction of smallest curvature and "down" the gradient: the most that is gained; "far": how far away along the first.
    """
    data = objective.data
    assert data is not None
    n, k = len(data), min(examples, len(data) // 2)
    index = torch.arange(2 * k) * max(n // (2 * k), 1)
    with chance.preserved():
        first, second = data(index[::2], 1), data(index[1::2], 2)
        f, fresh = LossFunction(objective, first), LossFunction(objective, second)
        with torch.no_grad():
            loss = float(fresh(f.start))
            other = float(LossFunction(objective, _mixed(second))(f.start)) if _mixable(second) else math.inf
        found = {"loss": loss, "other": other if math.isfinite(other) else 10.0 * abs(loss) + 1.0}
        try:
            H = Hessian(f, f.start, check=False)
            ritz = lanczos(H, torch.zeros_like(f.start), products=products, tol=0.02, room=products)
        except (RuntimeError, NotImplementedError):
            H, ritz = None, None
        g = H.grad if H is not None else torch.zeros_like(f.start)
        found["gradient"] = float(torch.linalg.vector_norm(g))
        found["smallest"] = float(ritz.values[0]) if ritz is not None else 0.0
        found["largest"] = float(ritz.values[-1]) if ritz is not None else 0.0
        with torch.no_grad():
            reach = float(torch.linalg.vector_norm(f.start)) + 1.0
            h = value_and_grad(fresh, f.start)[1]
            found["agree"] = float(torch.nn.functional.cosine_similarity(g, h, dim=0)) if bool(g.any()) and bool(h.any()) else 0.0
            found["slope"] = found["gradient"] * reach
            found["down"] = loss - _lowest(fresh, f.start, -g, reach, loss)[0]
            found["along"] = found["far"] = 0.0
            if ritz is not None:
                low, found["far"] = min(_lowest(fresh, f.start, s * ritz.vectors[0], reach, loss) for s in (1.0, -1.0))
                found["along"] = loss - low
    return {name: value if math.isfinite(value) else 0.0 for name, value in found.items()}


def downhill(objective: Objective, batches: Sequence[Batch]) -> Tensor:
    """Theta (n,) after a step along the gradient of each batch, as long as the loss of that batch falls by a third of the slope."""
    with chance.preserved():
        x, length = LossFunction(objective, batches[0]).start.clone(), 0.0
        for batch in batches:
            f = LossFunction(objective, batch)
            value, g = value_and_grad(f, x)
            slope = float(g.double().square().sum())
            length = length or 0.1 * abs(float(value)) / max(slope, 1e-30)
            with torch.no_grad():
                for _ in range(HALVES):
                    if float(f(x - length * g)) < float(value) - length * slope / 3.0:
                        x, length = x - length * g, 2.0 * length
                        break
                    length /= 2.0
    return x


def _lowest(f: Callable[[Tensor], Tensor], x: Tensor, d: Tensor, reach: float, here: float) -> tuple[float, float]:
    """The lowest f(x + s d) on the way to where it rises, from a thousandth of |x| on, and how far away that is."""
    length = float(torch.linalg.vector_norm(d))
    if length == 0.0:
        return here, 0.0
    low, at, far = here, 0.0, 1e-3 * reach
    for _ in range(7):
        value = float(f(x + (far / length) * d))
        if value > low + 0.01 * abs(here) or value != value:
            break
        low, at = min((low, at), (value, far))
        far *= 3.0
    return low, at


def _mixable(batch: Batch) -> bool:
    return isinstance(batch.y, Tensor) and batch.y.ndim >= 1 and batch.y.shape[0] == batch.n > 1


def _mixed(batch: Batch) -> Batch:
    """Every example with the target of another."""
    return batch._replace(y=batch.y.roll(batch.n // 2, 0))
