"""Evolution strategies: the blurred gradient, by value and by rank."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.curvature import directions
from gradlearn.errors import InputTrouble
from gradlearn.gradient.evolution import Evolution, ranks
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Of:
    data = None

    def __init__(self, cliff: float = 0.0) -> None:
        self.model, self.cliff = nn.Module(), cliff
        self.model.w = nn.Parameter(torch.tensor([1.0, -0.5]).double())

    def __call__(self, batch: Batch) -> Losses:
        w: Tensor = self.model.w
        return Losses((w.square().sum() + self.cliff * (w[0] > 1.3) + 0 * w.sum())[None], torch.ones(1))


BATCH = Batch(torch.zeros(1), None, torch.arange(1), 3)


def estimate(objective: Of, **options: object) -> Tensor:
    theta = Theta(objective.model)
    Evolution(**options)(objective, theta, BATCH)  # type: ignore[arg-type]
    return theta.members[0].grad.clone()


def test_it_is_the_formula_on_antithetic_pairs():
    objective = Of()
    g = estimate(objective, sigma=0.1, pairs=4)
    w, slow = objective.model.w.detach(), torch.zeros(2).double()
    theta = Theta(objective.model)
    for k in range(4):
        v = directions(theta, 3, "evolution", k)[0][:2]
        slow += ((w + 0.1 * v).square().sum() - (w - 0.1 * v).square().sum()) * v / (2 * 0.1 * 4)
    assert torch.allclose(g, slow)


def test_many_pairs_are_the_gradient_of_the_blurred_loss():
    """A step of height h at distance d is blurred to a slope of h times the normal density at d."""
    sigma, h = 0.2, 5.0
    g = estimate(Of(cliff=h), sigma=sigma, pairs=4000)
    density = torch.exp(torch.tensor(-0.5 * (0.3 / sigma) ** 2)) / (2 * torch.pi) ** 0.5 / sigma
    assert float(g[0]) == pytest.approx(2 * 1.0 + h * float(density), rel=0.1)
    assert float(g[1]) == pytest.approx(2 * -0.5, rel=0.3)


def test_ranks_do_not_know_how_high_a_cliff_is():
    one, two = (estimate(Of(cliff=h), sigma=0.2, pairs=50, shape="rank") for h in (1e3, 1e9))
    assert torch.equal(one, two)
    assert one[0] > 0


def test_ranks_run_from_minus_a_half_to_a_half_and_are_shared_by_equals():
    assert ranks(torch.tensor([[3.0, -1.0], [10.0, 5.0]])).flatten().tolist() == pytest.approx([-1 / 6, -0.5, 0.5, 1 / 6])
    assert ranks(torch.ones(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sigma": 0.0}, r"--evolution\.sigma 0"),
        ({"pairs": 0}, r"--evolution\.pairs 0"),
        ({"shape": "ranks"}, "did you mean 'rank'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], said: str):
    with pytest.raises(InputTrouble, match=said):
        Evolution(**options)  # type: ignore[arg-type]
