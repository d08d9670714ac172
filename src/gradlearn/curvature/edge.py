"""The largest curvature of a batch's loss where theta stands: what sets the learning rate at which gradient descent turns unstable.

    lambda_max of H = d^2 L_B / d theta^2,     by Lanczos on Hessian-vector products

As the training sees the loss: in the modes the model is in, with the batch's own draw. The largest Ritz value is never above the
largest eigenvalue, and after ten products or twenty within a per cent of it where the gap is not tiny.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.curvature.derivatives import Hessian
from gradlearn.curvature.lanczos import lanczos
from gradlearn.curvature.landscape import LossFunction
from gradlearn.symbols import Batch, Objective

LEAST, MOST = 10, 60  # products


def largest(objective: Objective, batch: Batch, seconds: float = math.inf) -> float | None:
    """lambda_max; None where a layer has no second derivative.

    Args:
        objective: its model stays as it is.
        batch: with its draw.
        seconds: about so long; ten products are taken all the same.
    """
    f = LossFunction(objective, batch)

    def quietly(x: Tensor) -> Tensor:
        with chance.preserved():
            return f(x)

    begun = time.perf_counter()
    try:
        H = Hessian(quietly, f.start, check=False)
        H(torch.ones_like(f.start))
        pace = max(time.perf_counter() - begun, 1e-9)
        products = int(min(max(seconds / pace, LEAST), MOST))
        found = lanczos(H, torch.zeros_like(f.start), products=products, tol=1e-3, room=products)
    except (RuntimeError, NotImplementedError):
        return None
    return float(found.values[-1])
