"""Escape: along the negative curvature, as far as the loss falls; nothing where there is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import Examples
from gradlearn.errors import InputTrouble
from gradlearn.remedy.escape import Escape
from gradlearn.symbols import Action, Batch, Controls, Finding, History, Losses
from gradlearn.theta import Theta

SADDLE = Finding(70, "saddle", "warn", "what", "why", "do", {})


class Surface(nn.Module):
    """f = x^2 - y^2 + y^4: a saddle at 0, minima of -1/4 at y = +-1/sqrt(2)."""

    def __init__(self, x: float = 0.0, y: float = 0.0) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([x, y]))

    def forward(self, batch: Tensor) -> Tensor:
        x, y = self.place
        return (x * x - y * y + y**4).expand(len(batch))


class Of:
    """Its objective."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.data, self.valid = model, Examples(torch.zeros(40, 1), torch.zeros(40, 1)), None

    def __call__(self, batch: Batch) -> Losses:
        out = self.model(batch.x)
        return Losses(out, torch.ones_like(out))


def escaped(x: float, y: float) -> tuple[list[float], Action]:
    model = Surface(x, y)
    theta = Theta(model)
    (action,) = Escape()(SADDLE, History(), Controls()) or ()
    done = Escape().enact(action, theta, Of(model), None)  # type: ignore[arg-type]
    return model.place.tolist(), done


@pytest.mark.parametrize("y", [0.0, 1e-4, -1e-4])
def test_it_leaves_a_saddle_for_near_the_minimum(y: float):
    (x, to), action = escaped(0.0, y)
    assert abs(x) < 1e-3
    assert to * to - to**4 > 0.15, "most of the way down to 1/4"
    assert y == 0.0 or to * y > 0.0, "downhill of the slope that there is"
    assert action.name == "escape"
    assert "curvature -2" in action.why


def test_the_same_step_escapes_the_same_way_and_no_random_state_is_touched():
    before = torch.get_rng_state()
    assert escaped(0.0, 0.0)[0] == escaped(0.0, 0.0)[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert chance.permutation(40, 0, "escape", 70).tolist() == chance.permutation(40, 0, "escape", 70).tolist()


def test_at_a_minimum_nothing_moves():
    place, action = escaped(0.0, 0.5**0.5)
    assert place == [0.0, pytest.approx(0.5**0.5)]
    assert action.why.startswith("nothing was moved")


def test_without_data_nothing_moves():
    model = Surface()
    objective = Of(model)
    objective.data = None  # type: ignore[assignment]
    action = Escape().enact(Action(7, "escape", "why"), Theta(model), objective, None)  # type: ignore[arg-type]
    assert "no data" in action.why
    assert model.place.tolist() == [0.0, 0.0]


def test_at_most_three_times():
    history = History()
    history.actions += [Action(t, "escape", "why") for t in (5, 30, 60)]
    assert Escape()(SADDLE, history, Controls()) is None


@pytest.mark.parametrize("options", [{"examples": 0}, {"products": 1}, {"most": 0}])
def test_options_out_of_range_are_refused(options: dict[str, int]):
    with pytest.raises(InputTrouble, match="--escape"):
        Escape(**options)  # pyright: ignore[reportArgumentType]
