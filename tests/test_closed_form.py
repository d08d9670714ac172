"""Closed form: the left-out predictions are those of as many trainings, and tell signal from noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradlearn import closed_form
from gradlearn.closed_form import GAMMAS, RIDGE, left_out, size
from looks import blobs, draws


def without(x: Tensor, y: Tensor, i: int, gamma: float) -> Tensor:
    """What example i is predicted to be by a training on all others, in the same columns and on the same kernel."""
    x = (x - x.mean(0)) / x.std(0).clamp_min(0.1 * x.std(0).mean().item())
    distance = torch.cdist(x.double(), x.double()).square()
    usual = distance[:: max(len(x) // 50, 1)].median()
    kernel = torch.exp(-gamma * distance / usual)
    keep = torch.arange(len(x)) != i
    inner = kernel[keep][:, keep] + RIDGE * torch.eye(len(x) - 1, dtype=torch.float64)
    return kernel[i, keep] @ torch.linalg.solve(inner, (y.double() - y.double().mean(0))[keep]) + y.double().mean(0)


def test_leaving_out_is_as_training_without(monkeypatch: pytest.MonkeyPatch):
    x, _ = blobs(60)
    y = torch.stack([x[:, 0].sin(), x[:, 1] * x[:, 2]], 1)
    for gamma in GAMMAS:
        monkeypatch.setattr(closed_form, "GAMMAS", (gamma,))
        monkeypatch.setattr(closed_form, "_last", ((), torch.empty(0)))
        found = left_out(x, y)
        for i in (0, 17, 59):
            torch.testing.assert_close(found[i], without(x, y, i, gamma), rtol=1e-3, atol=1e-3)


def test_signal_is_predicted_noise_is_not():
    x = torch.randn(300, 5, generator=draws())
    y = (x[:, :1] * 2).sin() + x[:, 1:2]
    noise = torch.randn(300, 1, generator=draws(1))
    assert (left_out(x, y) - y).square().mean() < 0.2 * y.var()
    assert (left_out(x, noise) - noise).square().mean() > 0.95 * noise.var()


def test_columns_of_any_scale_count_alike():
    x, y = blobs(200)
    one = torch.nn.functional.one_hot(y)
    wide = left_out(x * torch.logspace(-3, 3, 8), one).argmax(1)
    assert (left_out(x, one).argmax(1) == wide).float().mean() > 0.99


def test_the_last_answer_is_kept_for_the_same_question_alone():
    x, y = blobs(100)
    one = torch.nn.functional.one_hot(y)
    found = left_out(x, one)
    assert left_out(x.clone(), one.clone()) is found
    assert left_out(x + 1e-3, one) is not found


def test_the_size_grows_with_the_run_and_is_bounded():
    assert [size(n) for n in (0, 100, 1000, 10**6)] == [200, 200, 399, 800]
