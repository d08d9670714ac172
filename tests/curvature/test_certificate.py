"""The verdict on points that are known, and the numbers beside it against dense ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from gradlearn.curvature.certificate import VERDICTS, Certificate, certify
from gradlearn.curvature.landscape import function_of
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Losses

Known = tuple[Callable[[Tensor], Tensor], Tensor, str]


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def ackley(x: Tensor) -> Tensor:
    return -20 * torch.exp(-0.2 * (x * x).mean().sqrt()) - torch.exp(torch.cos(2 * math.pi * x).mean()) + 20 + math.e


KNOWN: dict[str, Known] = {
    "bowl": (lambda x: (x * x).sum(), t(0, 0), "minimum"),
    "ill-conditioned bowl": (lambda x: 0.5 * (1e8 * x[0] ** 2 + x[1] ** 2), t(0, 0), "minimum"),
    "tiny bowl, far": (lambda x: 1e-12 * ((x - 1000) ** 2).sum(), t(1000, 1000), "minimum"),
    "rosenbrock": (rosenbrock, torch.ones(30).double(), "minimum"),
    "quartic": (lambda x: (x**4).sum(), t(0, 0), "minimum"),
    "flat valley": (lambda x: x[0] ** 2 + 0 * x[1], t(0, 3), "minimum"),
    "curved valley": (lambda x: (x[1] - x[0] ** 2) ** 2, t(1, 1), "minimum"),
    "sphere": (lambda x: ((x * x).sum() - 1) ** 2, t(1, 0, 0), "minimum"),
    "kink": (ackley, t(0, 0), "minimum"),
    "saddle": (lambda x: x[0] ** 2 - x[1] ** 2, t(0, 0), "saddle"),
    "ill-conditioned saddle": (lambda x: 0.5 * (1e6 * x[0] ** 2 - x[1] ** 2), t(0, 0), "saddle"),
    "monkey saddle": (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, t(0, 0), "saddle"),
    "wxyz": (lambda x: x.prod(), t(0, 0, 0, 0), "saddle"),
    "every line rises": (lambda x: (x[1] - x[0] ** 2) * (x[1] - 3 * x[0] ** 2), t(0, 0), "saddle"),
    "inflection": (lambda x: (x**3).sum(), t(0), "saddle"),
    "ridge": (lambda x: -(x[0] ** 2) + 0 * x[1], t(0, 2), "saddle"),
    "maximum": (lambda x: -(x * x).sum(), t(0, 0), "saddle"),
    "flat maximum": (lambda x: -(x**4).sum(), t(0, 0), "saddle"),
    "constant": (lambda x: (0 * x).sum() + 3, t(1, 2), "plateau"),
    "sigmoids": (lambda x: torch.sigmoid(-x).sum(), t(-30, -30), "plateau"),
    "tail": (lambda x: torch.exp(-x).sum(), t(50), "plateau"),
    "shelf": (lambda x: x[0] ** 2 + torch.sigmoid(-x[1]), t(0, -30), "plateau"),
    "slope of a bowl": (lambda x: (x * x).sum(), t(1, 1), "not converged"),
    "floor of a valley": (rosenbrock, t(0.99, 0.9801), "not converged"),
    "steep part done": (lambda x: 0.5 * (1e8 * x[0] ** 2 + x[1] ** 2), t(1e-8, 1), "not converged"),
    "along a kink": (lambda x: x[0].abs() + 0.1 * x[1] ** 2, t(1e-12, 1), "not converged"),
    "1/x": (lambda x: (1 / x).sum(), t(1), "not converged"),
    "line": (lambda x: x[0] + 2 * x[1], t(0, 0), "unbounded"),
    "slight line": (lambda x: 1e-9 * x.sum(), t(0, 0), "unbounded"),
    "cubic": (lambda x: x[0] ** 3 + x[1] ** 2, t(1, 0), "unbounded"),
    "logarithm": (lambda x: -torch.log(x).sum(), t(1, 2), "unbounded"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_verdict_on_a_known_point_is_right(name: str):
    f, x, wanted = KNOWN[name]
    found = certify(f, x)
    assert found.verdict == wanted, found.explain()
    assert wanted in VERDICTS
    assert found.explain().startswith(wanted.capitalize())


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_right_in_a_turned_frame_without_a_gradient_too(name: str):
    f, x, wanted = KNOWN[name]
    g = torch.Generator().manual_seed(5)
    Q = torch.linalg.qr(torch.randn(len(x), len(x), generator=g, dtype=torch.float64))[0]
    assert certify(lambda y: 1e3 * f(Q @ y), Q.T @ x).verdict == wanted
    assert certify(lambda y: f(y.detach()), x).verdict == wanted


@pytest.mark.parametrize("name", [n for n, k in KNOWN.items() if k[2] in ("saddle", "not converged", "unbounded")])
def test_the_direction_leads_down_by_what_is_said(name: str):
    f, x, _ = KNOWN[name]
    c = certify(f, x)
    assert c.direction is not None
    assert float(c.direction.norm()) == pytest.approx(1.0)
    assert c.drop > 0
    if math.isfinite(c.drop):
        assert float(f(x) - f(x + c.distance * c.direction)) == pytest.approx(c.drop, rel=1e-6)


@pytest.mark.parametrize("name", [n for n, k in KNOWN.items() if k[2] in ("minimum", "saddle") and n != "kink"])
def test_a_millionth_beside_is_still_that_point(name: str):
    f, x, wanted = KNOWN[name]
    u = torch.cos(torch.arange(len(x)) + 1.0).double()
    assert certify(f, x + 1e-6 * max(1.0, float(x.norm())) * u / u.norm()).verdict == wanted


FLAT = {"bowl": 0, "flat valley": 1, "curved valley": 1, "sphere": 2, "quartic": 2, "ill-conditioned bowl": 0}


@pytest.mark.parametrize(("name", "flat"), FLAT.items())
def test_flat_directions_are_counted(name: str, flat: int):
    f, x, _ = KNOWN[name]
    assert certify(f, x).flat == flat


def test_numbers_are_those_of_the_dense_hessian():
    x = torch.linspace(-1, 1, 40).double()
    true = torch.linalg.eigvalsh(torch.autograd.functional.hessian(rosenbrock, x))
    gradient = float(torch.autograd.functional.jacobian(rosenbrock, x).norm())
    for dense in (2048, 0):
        c = certify(rosenbrock, x, dense=dense)
        assert c.way.startswith("dense" if dense else "Lanczos")
        assert c.smallest == pytest.approx(float(true[0]), abs=1e-6 * float(true[-1]))
        assert c.largest == pytest.approx(float(true[-1]), rel=1e-6)
        assert c.smallest_residual < 1e-3
        assert c.loss == float(rosenbrock(x))
        assert c.gradient == pytest.approx(gradient)
        assert c.products >= 40 if dense else c.products > 0


def test_a_large_one_goes_by_lanczos_to_the_same_verdict():
    n = 3000
    scale = torch.linspace(0.5, 4, n).double()
    bowl = certify(lambda x: (scale * x * x).sum(), torch.zeros(n).double())
    assert bowl.verdict == "minimum"
    assert bowl.flat == -1
    assert bowl.way.startswith("Lanczos")
    assert bowl.products < 400
    scale[7] = -0.1
    saddle = certify(lambda x: (scale * x * x).sum(), torch.zeros(n).double())
    assert saddle.verdict == "saddle"
    assert saddle.smallest == pytest.approx(-0.2, abs=1e-6)
    assert saddle.direction is not None
    assert abs(float(saddle.direction[7])) == pytest.approx(1.0, abs=1e-3)


class Fit:
    """The squared error of a network."""

    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Batch) -> Losses:
        return Losses((self.model(batch.x) - batch.y).square().sum(1), torch.ones(batch.n))


def network(hidden: int, examples: int, layers: int = 1) -> tuple[Fit, Batch]:
    torch.manual_seed(0)
    widths = [3, *[hidden] * layers, 2]
    parts = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]
    batch = Batch(torch.randn(examples, 3), torch.randn(examples, 2), torch.arange(examples))
    return Fit(nn.Sequential(*parts[:-1])), batch


def descended(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    update = torch.optim.LBFGS([x], max_iter=1500, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        update.zero_grad()
        loss = f(x)
        loss.backward()
        return loss

    update.step(closure)
    return x.detach()


def test_an_overparametrised_network_is_at_a_minimum_that_is_flat():
    objective, batch = network(30, 8)
    f, start = function_of(objective, batch)
    assert certify(f, start).verdict == "not converged"
    c = certify(f, descended(f, start))
    assert c.verdict == "minimum", c.explain()
    assert c.flat >= len(start) - 16  # 16 numbers are fitted, so at most so many directions are curved
    assert "without curvature in" in c.explain()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_network_of_zeros_is_at_a_saddle_of_as_many_orders_as_it_has_layers(layers: int):
    objective, batch = network(4, 40, layers)
    f, start = function_of(objective, batch)
    x = torch.zeros_like(start)
    x[-2:] = batch.y.double().mean(0)
    c = certify(f, x)
    assert c.verdict == "saddle", c.explain()
    assert (c.smallest < -1e-3) == (layers == 1)


def test_nothing_of_the_caller_is_changed():
    x, state = t(0.3, 0.4), torch.get_rng_state()
    before = x.clone()
    a = certify(rosenbrock, x)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    b = certify(rosenbrock, x)
    for field in dataclasses.fields(Certificate):
        one, two = getattr(a, field.name), getattr(b, field.name)
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two or one != one, field.name


def test_one_precision_is_raised_where_the_function_lets_it():
    assert certify(lambda x: (x * x).sum(), torch.zeros(2)).verdict == "minimum"
    weight = torch.ones(2, 2)  # float32: the function takes no float64
    assert certify(lambda x: (weight @ x - 1).square().sum(), torch.full((2,), 0.5)).verdict == "minimum"


def test_a_value_that_is_no_number_is_refused_and_minus_infinity_is_the_bottom():
    with pytest.raises(InputTrouble, match="not a number"):
        certify(lambda x: torch.log(x).sum(), t(-1.0))
    assert certify(lambda x: torch.log(x).sum(), t(0.0)).verdict == "unbounded"
    assert certify(lambda x: -torch.log(x).sum(), t(0.0)).verdict == "not converged"


def test_a_certificate_cannot_be_written_on():
    c = certify(lambda x: (x * x).sum(), t(0.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        c.verdict = "saddle"  # type: ignore[misc]
