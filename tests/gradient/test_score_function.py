"""The score function: its formula, its baseline, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.gradient.score_function import ScoreFunction
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Choice:
    """Three actions, each with its cost; one is sampled for each example."""

    data = None

    def __init__(self, offset: float = 0.0, path: bool = False) -> None:
        self.model = nn.Linear(2, 3).double()
        nn.init.constant_(self.model.weight, 0.1)
        nn.init.zeros_(self.model.bias)
        self.offset, self.path = offset, path

    def __call__(self, batch: Batch) -> Losses:
        logp = self.model(batch.x).log_softmax(1)
        taken = torch.multinomial(logp.detach().exp(), 1)
        cost = self.offset + torch.tensor([0.0, 1.0, 3.0]).double()[taken[:, 0]]
        if self.path:
            cost = cost + 0.1 * self.model.bias.square().sum()
        return Losses(cost, torch.ones(batch.n), logp.gather(1, taken)[:, 0])

    def expected(self, batch: Batch) -> Tensor:
        p = self.model(batch.x).softmax(1)
        return (p @ torch.tensor([0.0, 1.0, 3.0]).double()).mean() + 0.1 * self.path * self.model.bias.square().sum()


def batch_of(n: int = 8, draw: int = 0) -> Batch:
    g = torch.Generator().manual_seed(0)
    return Batch(torch.randn(n, 2, generator=g).double(), None, torch.arange(n), draw)


def estimates(objective: Choice, k: int, n: int = 8, **options: object) -> Tensor:
    theta, gradient, rows = Theta(objective.model), ScoreFunction(**options), []  # type: ignore[arg-type]
    for draw in range(k):
        gradient(objective, theta, batch_of(n, draw))
        rows.append(torch.cat([m.grad.flatten() for m in theta.members]))
    return torch.stack(rows)


@pytest.mark.parametrize("path", [False, True])
@pytest.mark.parametrize("baseline", ["leave_one_out", "none"])
def test_its_mean_is_the_gradient_of_the_expected_cost(baseline: str, path: bool):
    objective = Choice(path=path)
    nn.init.constant_(objective.model.bias, 0.5)
    theta = Theta(objective.model)
    true = torch.cat([g.flatten() for g in torch.autograd.grad(objective.expected(batch_of()), [m.param for m in theta.members])])
    seen = estimates(objective, 1500, baseline=baseline)
    assert ((seen.mean(0) - true).abs() <= 4 * seen.std(0) / 1500**0.5 + 1e-12).all()


def test_the_baseline_takes_a_constant_out_of_the_noise():
    plain, held = (estimates(Choice(offset=100.0), 200, baseline=b).std(0).norm() for b in ("none", "leave_one_out"))
    assert float(held) < 0.05 * float(plain)
    at_zero = estimates(Choice(), 200).std(0).norm()
    assert float(held) == pytest.approx(float(at_zero), rel=1e-9)


def test_one_example_has_no_others_to_lean_on():
    objective = Choice(offset=2.0)
    assert torch.allclose(estimates(objective, 5, n=1), estimates(objective, 5, n=1, baseline="none"))


def test_scaled_advantages_do_not_know_the_unit_of_cost():
    small, large = Choice(), Choice()
    g = estimates(small, 3, scale=True)
    costs = large.__call__

    class Dear(Choice):
        def __call__(self, batch: Batch) -> Losses:
            losses = costs(batch)
            return losses._replace(total=1000 * losses.total)

    dear = Dear()
    dear.model = large.model
    assert torch.allclose(estimates(dear, 3, scale=True), g, rtol=1e-6)


def test_without_a_log_probability_it_says_what_to_use():
    model = nn.Linear(2, 1).double()

    class Plain:
        data = None

        def __init__(self) -> None:
            self.model = model

        def __call__(self, batch: Batch) -> Losses:
            return Losses(self.model(batch.x)[:, 0], torch.ones(batch.n))

    with pytest.raises(InputTrouble, match="use --gradient backprop"):
        ScoreFunction()(Plain(), Theta(model), batch_of())
    with pytest.raises(InputTrouble, match="did you mean 'none'"):
        ScoreFunction(baseline="non")
