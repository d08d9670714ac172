"""Pictures whose label the model contradicts with confidence: either the label is wrong, or the model is.

    t_j = mean of p_j over the examples that are labelled j
    suspect: j = argmax over {j: p_j >= t_j, p_j >= 1/2} of p_j is not the label, ordered by p_j - p_label

Confident learning: Northcutt, Jiang, Chuang, arXiv 1911.00068; the floor of a half is ours. Exact for pictures that training has
not seen. A network that was trained on a wrong label long enough agrees with it, so of training pictures only those are found that
it still contradicts: what it names is worth a look, what it does not name is no proof. How large a share of all labels is wrong,
`watch/labels.py` estimates.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 0.5


def suspects(logp: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) rows of log-probabilities (n, classes) whose labels (n,) are in doubt, most doubtful first; (k,) what they look like."""
    p = logp.double().exp()
    n = torch.bincount(labels, minlength=p.shape[1])
    own = p.gather(1, labels[:, None])[:, 0]
    threshold = torch.bincount(labels, weights=own, minlength=p.shape[1]) / n.clamp_min(1)
    threshold = torch.where(n > 0, threshold.clamp_min(FLOOR), 2.0)  # a class without examples has no threshold
    sure = torch.where(p >= threshold, p, -1.0)
    most, other = sure.max(1)
    rows = torch.nonzero((most >= 0) & (other != labels)).flatten()
    order = (most - own)[rows].argsort(descending=True, stable=True)
    return rows[order], other[rows[order]]
