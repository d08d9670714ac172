"""Each strategy finds what it is made for, from evidence alone; none knows where the middle is."""

from __future__ import annotations

import math

import pytest
import torch

from gradlearn.find import names
from gradlearn.minimum.function import Calls, Function, Spent
from gradlearn.minimum.terrain import Terrain
from gradlearn.search import axes, cma, differential, hopping, restarts, smoothing

F64 = torch.float64
STRATEGIES = {
    "axes": axes.Axes,
    "cma": cma.CMA,
    "differential": differential.Differential,
    "hopping": hopping.Hopping,
    "restarts": restarts.Restarts,
    "smoothing": smoothing.Smoothing,
}


def terrain(f, n, side=5.0, evaluations=1 << 30, target=-math.inf, rows=True, gradient=True, seed=0):
    """f over a box, the start in a corner of it."""

    def both(x):
        x = x.detach().requires_grad_()
        y = f(x)
        return float(y.detach()), torch.autograd.grad(y, x)[0]

    calls = Calls(lambda x: float(f(x)), both if gradient else None, f if rows else None)
    start = torch.full((n,), 0.9 * side, dtype=F64)
    function = Function(calls, start, torch.full((n,), -side, dtype=F64), torch.full((n,), side, dtype=F64), 0.0)
    function.max_evals, function.target = evaluations, target
    function.value(start)
    return Terrain(function, seed)


def run(strategy, on, rounds=4):
    """Rounds of a strategy until the budget ends it; the values it yielded."""
    said = []
    try:
        for round in range(rounds):
            said += list(strategy(on, round))
    except Spent as spent:
        said.append(spent.why)
    return said


def turned(n, seed):
    """A rotation and a shift."""
    g = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=F64))
    return q, 4 * torch.rand(n, generator=g, dtype=F64) - 2


def rastrigin(x):
    return 10 * x.shape[-1] + (x * x - 10 * torch.cos(2 * math.pi * x)).sum(-1)


def ackley(x):
    hole = 20 * torch.exp(-0.2 * x.square().mean(-1).sqrt())
    return 20 + math.e - hole - torch.exp(torch.cos(2 * math.pi * x).mean(-1))


def test_every_strategy_is_tested():
    assert set(names("search")) == set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_seed_gives_one_search_and_another_seed_another(name):
    q, shift = turned(4, 0)

    def visited(seed):
        seen = []

        def f(x):
            seen.append(x.detach().clone())
            return rastrigin((x - shift) @ q)

        run(STRATEGIES[name](), terrain(f, 4, evaluations=600, seed=seed), 3)
        return torch.cat([s.reshape(-1) for s in seen])

    first = visited(0)
    assert torch.equal(first, visited(0))
    other = visited(1)
    assert len(first) != len(other) or not torch.equal(first, other)


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_is_asked_for_outside_of_the_box(name):
    reach = [0.0]

    def f(x):
        reach[0] = max(reach[0], float(x.detach().abs().max()))
        return rastrigin(x - 4.9)

    run(STRATEGIES[name](), terrain(f, 3, evaluations=1500))
    assert 4.0 < reach[0] <= 5.0


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_easy_bowl_off_the_middle_is_found(name):
    c = torch.tensor([1.7, -3.1, 0.4], dtype=F64)
    on = terrain(lambda x: ((x - c) ** 2).sum(-1), 3, evaluations=30000, target=1e-6)
    assert run(STRATEGIES[name](), on, 30)[-1] == "target"


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"smoothing"}))
def test_without_rows_and_gradients_it_works_too(name):
    on = terrain(lambda x: (x.round() ** 2).sum() + 0.01 * x.abs().sum(), 2, rows=False, gradient=False, evaluations=1500)
    run(STRATEGIES[name](), on, 10)
    assert on.least < 0.2


def test_smoothing_leaves_what_it_cannot_use_alone():
    on = terrain(lambda x: (x**2).sum(), 2, rows=False)
    assert run(STRATEGIES["smoothing"](), on) == []
    assert on.function.nfev == 1


def test_axes_solves_a_sum_in_one_sweep_wherever_its_axes_point():
    shift = torch.tensor([1.3, -2.2, 3.1, -0.4, 2.6, -3.3], dtype=F64)
    on = terrain(lambda x: rastrigin(x - shift), 6, target=1e-6, evaluations=4000)
    assert run(STRATEGIES["axes"](), on, 1)[-1] == "target"
    q, _ = turned(6, 1)
    on = terrain(lambda x: rastrigin((x - shift) @ q), 6, target=1e-6, evaluations=12000)
    assert run(STRATEGIES["axes"](), on, 4)[-1] == "target"


def test_the_axes_of_a_rotated_sum_are_found():
    q, shift = turned(5, 2)
    on = terrain(lambda x: ((x - shift) @ q).pow(4).sum(-1) + torch.sin((x - shift) @ q).sum(-1), 5)
    basis = axes.curved(on, torch.tensor([[0.3, 0.8, 0.6, 0.2, 0.55], [0.5, 0.4, 0.7, 0.3, 0.6]], dtype=F64))
    overlap = (basis @ q).abs()
    torch.testing.assert_close(overlap.max(1).values, torch.ones(5, dtype=F64), rtol=1e-4, atol=1e-4)


def test_cma_learns_a_narrow_rotated_valley_without_gradients():
    q, shift = turned(5, 3)
    scale = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0], dtype=F64)
    on = terrain(lambda x: (scale * ((x - shift) @ q) ** 2).sum(-1), 5, gradient=False, target=1e-8, evaluations=40000)
    assert run(STRATEGIES["cma"](), on)[-1] == "target"


def test_cma_sees_through_the_ripples_of_ackley():
    q, shift = turned(8, 4)
    on = terrain(lambda x: ackley((x - shift) @ q * 6), 8, target=1e-3, evaluations=60000)
    assert run(STRATEGIES["cma"](), on)[-1] == "target"


def test_differential_finds_the_far_corner():
    def schwefel(x):
        y = 100 * x
        return 418.9828872724338 * x.shape[-1] - (y * torch.sin(y.abs().clamp_min(1e-9).sqrt())).sum(-1)

    on = terrain(schwefel, 4, gradient=False, target=1e-3, evaluations=30000)
    assert run(STRATEGIES["differential"](), on)[-1] == "target"
    torch.testing.assert_close(on.function.best, torch.full((4,), 4.2096874, dtype=F64), rtol=1e-3, atol=1e-3)


def test_hopping_climbs_out_of_valleys():
    q, shift = turned(4, 5)
    on = terrain(lambda x: rastrigin((x - shift) @ q), 4, target=1e-6, evaluations=40000)
    assert run(STRATEGIES["hopping"](), on)[-1] == "target"


def test_smoothing_finds_the_bowl_under_the_ripples():
    q, shift = turned(6, 6)
    wave = torch.linspace(5.0, 9.0, 6, dtype=F64)
    on = terrain(lambda x: ((x - shift) ** 2).sum(-1) + 3 * (1 - torch.cos(wave * ((x - shift) @ q))).sum(-1), 6, target=1e-6)
    on.function.max_evals = 60000
    assert run(STRATEGIES["smoothing"](), on, 2)[-1] == "target"


def test_restarts_keep_the_few_rows_that_go_down_a_long_valley():
    """Four starts in five fall at once to 1; the others need a hundred steps, and end at 0."""

    def f(x):
        y = x[..., 1:]
        valley = (100.0 * (y[..., 1:] - y[..., :-1] ** 2) ** 2 + (1.0 - y[..., :-1]) ** 2).sum(-1)
        return torch.where(x[..., 0] < -3.0, valley, 1.0 + y.square().sum(-1))

    on = terrain(f, 9)
    run(restarts.Restarts(), on, rounds=1)
    assert on.least < 1e-3
