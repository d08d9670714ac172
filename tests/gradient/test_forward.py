"""Forward mode: exact along each direction, exact altogether on a basis."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn.curvature import reverse
from gradlearn.errors import InputTrouble
from gradlearn.gradient.forward import Forward
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.head = nn.LSTM(3, 2, batch_first=True), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixer(x)[0][:, -1])


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Batch) -> Losses:
        return Losses(self.model(batch.x).square().sum(1), torch.ones(batch.n))


def made(model: nn.Module, shape: tuple[int, ...]) -> tuple[Of, Theta, Batch]:
    g = torch.Generator().manual_seed(1)
    return Of(model), Theta(model), Batch(torch.randn(shape, generator=g), None, torch.arange(shape[0]), 6)


def flat(theta: Theta) -> Tensor:
    return torch.cat([m.grad.flatten() for m in theta.members])


MODELS = {
    "plain": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 1)), (6, 3)),
    "BatchNorm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), (6, 3)),
    "LSTM": (Last, (6, 5, 3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_on_a_basis_it_is_backprop(name: str, recwarn: pytest.WarningsRecorder):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    objective, theta, batch = made(make(), shape)
    gradient = Forward(basis=True)
    gradient(objective, theta, batch)
    g = flat(theta)
    reverse(objective, theta, batch)
    assert torch.allclose(g, flat(theta), rtol=1e-4, atol=1e-6)
    assert bool(gradient.note) == (name == "LSTM")
    assert [str(w.message) for w in recwarn.list] == []


def test_a_direction_is_answered_by_its_slope():
    """g = (v . grad) v: parallel to one direction, and the mean of several."""
    torch.manual_seed(0)
    objective, theta, batch = made(nn.Linear(3, 1), (6, 3))
    reverse(objective, theta, batch)
    true = flat(theta)
    Forward()(objective, theta, batch)
    g = flat(theta)
    assert float(g @ true) == pytest.approx(float((g @ true) ** 2 / (g @ g)) * float((g @ g) / (g @ true)), rel=1e-4)
    share = g / g.norm()
    assert float(share @ true) * float(g @ true) > 0
    Forward(directions=4000)(objective, theta, batch)
    assert float((flat(theta) - true).norm()) < 0.15 * float(true.norm())


def test_no_direction_at_all_is_refused():
    with pytest.raises(InputTrouble, match=r"--forward\.directions 0"):
        Forward(directions=0)
