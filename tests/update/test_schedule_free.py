"""Schedule-free AdamW against the sequences x, y, z of the paper, each kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.update.schedule_free import ScheduleFree


@pytest.mark.parametrize(("warmup", "count"), [(0, 0.0), (10, 0.0), (10, 0.75)])
def test_a_hundred_steps_are_the_papers_sequences(warmup: int, count: float):
    b1, b2, eps, decay = 0.85, 0.97, 1e-6, 0.1
    x, z = ([p.detach().clone() for p in start()] for _ in range(2))
    v = [torch.zeros_like(p) for p in z]
    book = {"most": 0.0, "weights": 0.0}

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        lr = rate(t, 0.02) * (min(1.0, t / warmup) if warmup else 1.0)
        book["most"] = max(book["most"], lr)
        weight = t**count * book["most"] ** 2
        book["weights"] += weight
        c = weight / book["weights"]
        for i, (y, g) in enumerate(zip(params, grads, strict=True)):
            v[i] = b2 * v[i] + (1 - b2) * g * g
            u = g / ((v[i] / (1 - b2**t)).sqrt() + eps) + decay * y
            z[i] = z[i] - lr * u
            x[i] = (1 - c) * x[i] + c * z[i]
            y.copy_((1 - b1) * z[i] + b1 * x[i])

    params = start()
    update = ScheduleFree(params, lr=0.02, betas=(b1, b2), eps=eps, weight_decay=decay, warmup=warmup, count=count)
    assert close(ours(update, params, 0.02), slowly(slow), 1e-10)
    with update.shown():
        assert close([p.detach().clone() for p in params], x, 1e-10)


def test_z_begins_where_the_parameters_are_at_the_first_step():
    """Also where weights were loaded after the update was made."""
    p, q = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    first = ScheduleFree([p], lr=0.1)
    with torch.no_grad():
        p.fill_(2.0)
        q.fill_(2.0)
    second = ScheduleFree([q], lr=0.1)
    for update in (first, second):
        p.grad, q.grad = torch.ones(3), torch.ones(3)
        update.step()
    assert torch.equal(p, q)


def test_a_mean_without_a_gradient_point_is_refused():
    with pytest.raises(InputTrouble, match=r"--schedule_free\.betas"):
        ScheduleFree([torch.nn.Parameter(torch.ones(2))], betas=(0.0, 0.99))
