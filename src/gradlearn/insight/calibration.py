"""May one believe the probabilities? Of all answers that were 80 % sure, 80 % should be right.

    ECE   = sum_b n_b / n |accuracy_b - confidence_b|          expected calibration error, over bins b of the largest probability
    Brier = mean_i sum_k (p_ik - [k is the truth])^2           from 0 to 2
    z     = sum_i (right_i - p_i) / sqrt(sum_i p_i (1 - p_i))  about normal where the probabilities are honest

and the temperature T that would mend it: softmax(log p / T), T where the loss on validation data is least (convex in 1 / T). After
Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", arXiv 1706.04599; z after Spiegelhalter (1986). ECE is
biased upwards where bins hold few examples, so that of a few hundred is to be read with its counts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 10
ENTRIES = 2_000_000  # log-probabilities that a temperature is fitted on at most
SHARPEST, DULLEST = 20.0, 0.05  # 1 / T
ROUNDS = 60


def calibration(logp: Tensor, labels: Tensor) -> dict[str, Any]:
    """Bins, ECE, Brier score and z of log-probabilities (n, k) and labels (n,), n > 0.

    "bins": one for each tenth of confidence that has examples: low, high, count, mean confidence, accuracy. "confidence" and
    "accuracy" are the means over all.
    """
    p = logp.double().exp()
    top, guess = p.max(1)
    right = (guess == labels).double()
    place = (top * BINS).long().clamp(0, BINS - 1)
    count = torch.bincount(place, minlength=BINS)
    said, got = (torch.bincount(place, weights=w, minlength=BINS) / count.clamp_min(1) for w in (top, right))
    spread = (top * (1 - top)).sum().sqrt()
    brier = (p.square().sum(1) - 2 * p.gather(1, labels[:, None])[:, 0] + 1).mean()
    rows = [
        {"low": b / BINS, "high": (b + 1) / BINS, "count": int(count[b]), "confidence": said[b].item(), "accuracy": got[b].item()}
        for b in range(BINS)
        if count[b]
    ]
    return {
        "n": len(labels),
        "confidence": top.mean().item(),
        "accuracy": right.mean().item(),
        "ece": (count * (got - said).abs()).sum().item() / len(labels),
        "brier": brier.item(),
        "z": ((right - top).sum() / spread).item() if spread > 0 else 0.0,
        "bins": rows,
    }


def temperature(logp: Tensor, labels: Tensor) -> float | None:
    """T of log-probabilities (n, k) and labels (n,); above 1 for one that is too sure. None: no T within bounds is best."""
    most = max(ENTRIES // logp.shape[1], 1)
    if len(labels) > most:
        rows = torch.linspace(0, len(labels) - 1, most).long()
        logp, labels = logp[rows], labels[rows]
    z = logp.double().clamp_min(-1e4)
    true = z.gather(1, labels[:, None])[:, 0]
    low, high, beta = DULLEST, SHARPEST, 1.0
    for _ in range(ROUNDS):  # Newton's steps on the derivative by beta = 1 / T, which rises; bisection where they leave the bracket
        p = (beta * z).softmax(1)
        mean = (p * z).sum(1)
        slope = (mean - true).mean().item()
        bend = ((p * z * z).sum(1) - mean**2).mean().item()
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = beta - slope / bend if bend > 0 else 0.0
        after = step if low < step < high else (low + high) / 2
        if abs(after - beta) < 1e-9 * beta:
            break
        beta = after
    return None if beta > 0.99 * SHARPEST or beta < 1.01 * DULLEST else 1.0 / beta


def tempered(logp: Tensor, t: float) -> Tensor:
    """Log-probabilities (n, k) at temperature t."""
    return (logp / t).log_softmax(1)
