"""Schedule-free SGD against the sequences x, y, z of the paper, each kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from descents import close, ours, rate, slowly, start
from gradlearn.errors import InputTrouble
from gradlearn.update.schedule_free_sgd import ScheduleFreeSGD


@pytest.mark.parametrize(("warmup", "count"), [(0, 0.0), (10, 0.5)])
def test_a_hundred_steps_are_the_papers_sequences(warmup: int, count: float):
    x, z = ([p.detach().clone() for p in start()] for _ in range(2))
    book = {"most": 0.0, "weights": 0.0}

    def slow(params: list[Tensor], grads: list[Tensor], loss: float, t: int) -> None:
        lr = rate(t, 0.05) * (min(1.0, t / warmup) if warmup else 1.0)
        book["most"] = max(book["most"], lr)
        weight = t**count * book["most"] ** 2
        book["weights"] += weight
        c = weight / book["weights"]
        for i, (y, g) in enumerate(zip(params, grads, strict=True)):
            z[i] = z[i] - lr * (g + 0.1 * y)
            x[i] = (1 - c) * x[i] + c * z[i]
            y.copy_(0.2 * z[i] + 0.8 * x[i])

    params = start()
    update = ScheduleFreeSGD(params, lr=0.05, momentum=0.8, weight_decay=0.1, warmup=warmup, count=count)
    assert close(ours(update, params, 0.05), slowly(slow), 1e-10)
    with update.shown():
        assert close([p.detach().clone() for p in params], x, 1e-10)


def test_no_momentum_is_refused():
    with pytest.raises(InputTrouble, match=r"--schedule_free_sgd\.momentum"):
        ScheduleFreeSGD([torch.nn.Parameter(torch.ones(2))], momentum=0.0)
