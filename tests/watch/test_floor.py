"""Floor: the average of a walk about a goal is better than where the walk is, and only where the rate does not fall."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding
from gradlearn.watch.floor import Floor, stands


def equations(n: int = 400) -> tuple[Tensor, Tensor]:
    """A noisy linear law: at a constant rate least squares walks about the best weights."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 10, generator=g)
    return x, x @ torch.randn(10, 1, generator=g) + 0.5 * torch.randn(n, 1, generator=g)


def said(rate: str, batch: int, lr: float = 0.05, **more: object) -> list[Finding]:
    """What the check says of one run."""
    torch.manual_seed(0)
    given: dict[str, object] = {"update": "sgd", "lr": lr, "sgd__momentum": 0.0, "rate": [rate], "average": "plain"} | more
    run = gradlearn.fit(nn.Linear(10, 1), equations(), "mse", steps=600, batch=batch, valid=None, watch=["floor"], **given)
    return [f for f in run.findings if f.name == "noise floor"]


def test_it_speaks_where_a_constant_rate_keeps_the_loss_up_and_is_silent_where_the_rate_falls():
    found = said("constant", 2)
    assert [f.level for f in found] == ["warn"]
    assert not said("linear", 2)
    assert not said("constant", 400)
    assert not said("constant", 64, 0.005)


def test_the_average_is_that_of_the_weights_of_the_last_part():
    seen: list[Tensor] = []
    check = Floor(every=1, least=20)
    model, data = nn.Linear(10, 1), equations()

    def show(descent: object, step: object) -> None:
        seen.append(torch.cat([p.detach().flatten() for p in model.parameters()]).clone())
        checks = [c for c in descent.checks if isinstance(c, Floor)]  # type: ignore[attr-defined]
        assert checks
        check.load(checks[0].state())

    gradlearn.fit(
        model, data, "mse", steps=40, batch=4, valid=None, watch=["floor"], floor__every=1, floor__least=20, update="sgd", lr=0.01,
        rate=["constant"], average="plain", compile="off", inputs="as given", show=show,
    )  # fmt: skip
    expected = torch.stack(seen[19:]).double().mean(0)
    got = torch.cat([s.flatten() for s in check._sums[0]]).double() / check._counts[0]
    assert check._counts[0] == 21
    got = got[got != 0.0]  # room between two tensors
    torch.testing.assert_close(got.sort().values, expected.sort().values, rtol=1e-5, atol=1e-6)


def test_sums_come_back_from_a_checkpoint():
    a, b = Floor(), Floor()
    a._sums, a._counts = [[torch.tensor([1.0, 2.0]), torch.tensor([3.0])], [torch.tensor([4.0])]], [3, 1]
    b.load(a.state())
    assert b._counts == a._counts
    assert [[t.tolist() for t in part] for part in b._sums] == [[t.tolist() for t in part] for part in a._sums]
    assert Floor().state() == {}


def test_a_fall_that_is_noise_stands_and_a_fall_that_is_none_does_not():
    g = torch.Generator().manual_seed(1)
    noise = torch.randn(600, generator=g).tolist()
    assert stands([1.0 + 0.3 * e for e in noise])
    assert not stands([1.0 + 0.3 * e - 0.001 * t for t, e in enumerate(noise)])


@pytest.mark.parametrize("bad", [{"every": 0}, {"examples": 1}, {"share": 1.0}, {"least": 3}])
def test_what_cannot_be_is_refused(bad: dict[str, float]):
    with pytest.raises(InputTrouble, match="--floor"):
        Floor(**bad)  # type: ignore[arg-type]
