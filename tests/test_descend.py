"""minimize: any start, any function, a certificate, and one line for what cannot be used."""

from __future__ import annotations

import dataclasses
import math
import time as wall

import numpy as np
import pytest
import torch
from torch import nn

from gradlearn.descend import Result, minimize
from gradlearn.errors import InputTrouble

F64 = torch.float64


def bowl(x):
    return ((x - 3.0) ** 2).sum()


def rastrigin(x):
    return 10 * x.shape[-1] + (x * x - 10 * torch.cos(2 * math.pi * x)).sum(-1)


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


# ---- starts


def test_x_comes_back_in_the_structure_of_the_start():
    def f(p):
        return (p["a"] ** 2).sum() + (p["b"][0] - 1) ** 2 + ((p["b"][1] + 2) ** 2).sum()

    r = minimize(f, {"a": torch.ones(2), "b": (5.0, torch.ones(2, 3))})
    assert set(r.x) == {"a", "b"}
    assert isinstance(r.x["b"], tuple)
    assert isinstance(r.x["b"][0], float)
    assert r.x["b"][0] == pytest.approx(1.0)
    assert r.x["b"][1].shape == (2, 3)
    torch.testing.assert_close(r.x["b"][1], torch.full((2, 3), -2.0, dtype=F64))
    assert float(f({"a": r.x["a"], "b": (torch.tensor(r.x["b"][0]), r.x["b"][1])})) == pytest.approx(r.fun, abs=1e-12)


@pytest.mark.parametrize("start", [torch.zeros(4), torch.zeros(4, dtype=F64), [0.0, 0.0, 0.0, 0.0], torch.zeros(2, 2), np.zeros(4)])
def test_tensors_arrays_and_lists_of_numbers_are_vectors(start):
    r = minimize(bowl, start)
    assert r.success
    assert r.fun < 1e-15
    np.testing.assert_allclose(np.asarray(r.x).ravel(), 3.0, atol=1e-7)


def test_a_number_comes_back_as_a_number():
    r = minimize(lambda x: (x - 2) ** 2, 7)
    assert isinstance(r.x, float)
    assert r.x == pytest.approx(2.0)


def test_a_named_tuple_stays_one():
    from collections import namedtuple

    pair = namedtuple("pair", "a b")
    r = minimize(lambda p: p.a**2 + (p.b - 1) ** 2, pair(3.0, torch.zeros(())))
    assert type(r.x) is pair
    assert float(r.x.b) == pytest.approx(1.0)


def test_a_module_is_fitted_in_place_and_the_closed_form_is_found():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=g, dtype=F64)
    y = torch.randn(60, 1, generator=g, dtype=F64)
    model = nn.Linear(3, 1).double()
    r = minimize(lambda m: ((m(x) - y) ** 2).mean(), model)
    a = torch.cat([x, torch.ones(60, 1, dtype=F64)], 1)
    best = torch.linalg.lstsq(a, y).solution[:, 0]
    assert r.x is model
    torch.testing.assert_close(torch.cat([model.weight.detach()[0], model.bias.detach()]), best, rtol=1e-7, atol=1e-8)
    assert r.certificate.verdict == "minimum"
    assert all(p.grad is None for p in model.parameters())


def test_a_closure_over_a_module_is_called_without_arguments():
    model = nn.Linear(2, 1).double()
    r = minimize(lambda: (model.weight**2).sum() + (model.bias - 1).square().sum(), model)
    assert r.fun < 1e-12
    assert model.bias.item() == pytest.approx(1.0)


def test_frozen_parameters_stay():
    model = nn.Linear(2, 1)
    model.weight.requires_grad_(False)
    before = model.weight.clone()
    x, y = torch.randn(20, 2), torch.randn(20, 1)
    minimize(lambda m: ((m(x) - y) ** 2).mean(), model)
    assert torch.equal(model.weight, before)


def test_a_module_is_as_it_was_after_an_error():
    model = nn.Linear(2, 1)
    before = [p.clone() for p in model.parameters()]
    calls = []

    def f(m):
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("broken")
        return (m(torch.ones(4, 2)) ** 2).mean() + m.weight.exp().sum()

    with pytest.raises(RuntimeError, match="broken"):
        minimize(f, model)
    assert len(calls) > 5
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_float32_only_functions_are_called_in_float32():
    data = torch.randn(30, 4)

    def f(x):
        assert x.dtype == torch.float32
        return ((data @ x) ** 2).mean() + (x - 1).square().sum()

    r = minimize(f, torch.zeros(4))
    assert r.how["precision"] == "given"
    assert r.x.dtype == torch.float32
    a = 2 * data.T.double() @ data.double() / 30 + 2 * torch.eye(4, dtype=F64)
    torch.testing.assert_close(r.x.double(), torch.linalg.solve(a, torch.full((4,), 2.0, dtype=F64)), rtol=1e-3, atol=1e-3)


# ---- smooth


def test_rosenbrock_to_double_precision_and_every_evaluation_is_counted():
    calls = []

    def f(x):
        calls.append(1)
        return rosenbrock(x)

    r = minimize(f, torch.tensor([-1.2, 1.0] * 3, dtype=F64))
    assert r.fun < 1e-18
    assert r.success
    assert r.certificate.verdict == "minimum"
    assert r.nfev < 150
    assert r.nfev <= len(calls) <= r.nfev + r.certificate.evaluations + r.certificate.products + 20
    assert r.found[-1].value == r.fun
    assert [f.value for f in r.found] == sorted((f.value for f in r.found), reverse=True)


def test_a_start_on_a_saddle_leaves_it():
    r = minimize(lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4, torch.zeros(2, dtype=F64))
    assert r.fun == pytest.approx(-0.25)
    assert r.success
    assert "saddle" in r.message


def test_a_function_without_end_is_called_unbounded():
    r = minimize(lambda x: -(x[0] ** 2) + x[1] ** 2, torch.ones(2, dtype=F64))
    assert not r.success
    assert r.certificate is None or r.certificate.verdict == "unbounded"
    assert "without end" in r.message


def test_a_minimum_at_a_bound_is_found_and_nothing_is_asked_for_beyond():
    def f(x):
        assert (x >= 1.0).all()
        assert (x <= 4.0).all()
        return ((x - torch.tensor([0.0, 2.0, 9.0], dtype=F64)) ** 2).sum() + (x.sqrt() - 1).sum() * 0

    r = minimize(f, torch.full((3,), 2.5, dtype=F64), bounds=(1, 4), search="none")
    np.testing.assert_allclose(r.x, [1.0, 2.0, 4.0], atol=1e-8)
    assert r.success


def test_one_sided_and_missing_bounds():
    r = minimize(lambda x: (x**2).sum() + x.sum(), [3.0, 3.0], bounds=[(1, None), (None, math.inf)], search="none")
    np.testing.assert_allclose(r.x, [1.0, -0.5], atol=1e-8)


def test_two_arrays_are_bounds_too():
    r = minimize(bowl, torch.zeros(2), bounds=(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 5.0])), search="none")
    np.testing.assert_allclose(r.x, [1.0, 3.0], atol=1e-8)


def test_logistic_regression_ends_where_scikit_learn_ends():
    datasets = pytest.importorskip("sklearn.datasets", reason="the extra 'images' brings scikit-learn")
    from sklearn.linear_model import LogisticRegression

    digits = datasets.load_digits()
    x, y = digits.data[:400] / 16, (digits.target[:400] % 2).astype(float)
    theirs = LogisticRegression(C=1.0, tol=1e-12, max_iter=5000).fit(x, y)
    a, b = torch.from_numpy(x), torch.from_numpy(y)

    def loss(p):
        z = a @ p["w"] + p["b"]
        return nn.functional.binary_cross_entropy_with_logits(z, b, reduction="sum") + 0.5 * p["w"].square().sum()

    r = minimize(loss, {"w": torch.zeros(64), "b": 0.0})
    theirs_value = float(loss({"w": torch.from_numpy(theirs.coef_[0]), "b": float(theirs.intercept_[0])}))
    assert r.certificate.verdict == "minimum"
    assert r.fun <= theirs_value + 1e-9 * theirs_value
    np.testing.assert_allclose(r.x["w"], theirs.coef_[0], atol=1e-3)


def test_a_small_network_learns_digits_with_its_gradients_in_single_precision():
    datasets = pytest.importorskip("sklearn.datasets", reason="the extra 'images' brings scikit-learn")
    digits = datasets.load_digits()
    x, y = torch.from_numpy(digits.data[:500] / 16).float(), torch.from_numpy(digits.target[:500])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    before = float(nn.functional.cross_entropy(model(x), y).detach())
    r = minimize(lambda m: nn.functional.cross_entropy(m(x), y), model, max_evals=150, search="none")
    assert r.x is model
    assert r.how["precision"] == "module"
    assert float(nn.functional.cross_entropy(model(x), y).detach()) == pytest.approx(r.fun, abs=1e-6)
    assert r.fun < 0.05 * before
    assert float((model(x).argmax(1) == y).double().mean()) > 0.99


# ---- no gradient, half a gradient, noise


def test_numpy_functions_are_minimised_with_differences():
    r = minimize(lambda x: float(np.sum((np.asarray(x) - 1) ** 2) + np.prod(x)), np.array([3.0, 2.0]))
    assert r.how["gradient"] == "central differences"
    assert r.njev == 0
    assert isinstance(r.x, np.ndarray)
    np.testing.assert_allclose(r.x, [2 / 3, 2 / 3], atol=1e-5)


def test_a_value_taken_out_of_the_graph_is_no_gradient():
    r = minimize(lambda x: (x - 1) ** 2 + math.cos(3 * float(x)), 0.3)
    h = 1e-4
    slope = 2 * (r.x - 1) - 3 * math.sin(3 * r.x)
    assert r.how["gradient"] == "central differences"
    assert abs(slope) < h


def test_a_gradient_that_is_not_the_slope_is_found_out():
    r = minimize(lambda x: ((x - 1) ** 2).sum() + ((x.detach() - 4) ** 2).sum(), torch.zeros(3, dtype=F64))
    assert r.how["gradient"] == "central differences"
    np.testing.assert_allclose(r.x, 2.5, atol=1e-5)


def test_steps_are_searched_without_gradient():
    r = minimize(lambda x: (x - 0.3).round().abs().sum(), torch.full((3,), 4.2, dtype=F64), bounds=(-9, 9), max_evals=4000)
    assert r.how["gradient"] == "central differences"
    assert r.fun == 0.0


def test_noise_is_seen_and_averaged():
    g = torch.Generator().manual_seed(0)
    r = minimize(lambda x: ((x - 3) ** 2).sum() + 0.1 * torch.randn((), generator=g), torch.zeros(4), max_evals=1500)
    assert r.how["noise"] == "yes"
    assert r.certificate is None
    assert r.noise > 0.0
    np.testing.assert_allclose(r.x, 3.0, atol=0.02)
    assert r.nfev <= 1500


def test_noisy_values_without_gradient():
    rng = np.random.default_rng(0)
    r = minimize(lambda x: float(np.sum((x - 3) ** 2) + 0.1 * rng.normal()), np.zeros(3), max_evals=3000)
    np.testing.assert_allclose(r.x, 3.0, atol=0.4)


# ---- search


def test_bounds_and_evaluations_search_and_one_seed_gives_one_result():
    shift = torch.tensor([1.3, -2.1, 0.4, 3.3], dtype=F64)
    runs = [
        minimize(lambda x: rastrigin(x - shift), torch.full((4,), 4.0), bounds=(-5, 5), max_evals=5000, seed=s) for s in (0, 0, 1)
    ]
    assert [r.fun < 1e-9 for r in runs] == [True] * 3
    assert torch.equal(runs[0].x, runs[1].x)
    assert runs[0].found[-1].evaluations == runs[1].found[-1].evaluations
    assert [f.value for f in runs[0].found] != [f.value for f in runs[2].found]
    assert runs[0].nfev <= 5000
    assert runs[0].how["rows"] == "rows"
    assert runs[0].certificate.verdict == "minimum"
    assert sum(runs[0].shares.values()) <= 1.0 + 1e-9


def test_the_time_is_kept():
    minimize(rastrigin, torch.full((4,), 3.0), bounds=(-5, 5), time=0.1)  # what is imported once is imported
    begun = wall.perf_counter()
    r = minimize(rastrigin, torch.full((4,), 3.0), bounds=(-5, 5), time="0.5s")
    assert 0.2 < wall.perf_counter() - begun < 1.0
    assert r.fun < 1e-9


def test_a_target_ends_the_search():
    r = minimize(rastrigin, torch.full((4,), 3.0), bounds=(-5, 5), time=20, target=1e-6)
    assert r.fun <= 1e-6
    assert r.success
    assert r.seconds < 10


def test_few_evaluations_are_not_exceeded():
    for most in (1, 2, 7, 50):
        calls = []

        def f(x, calls=calls):
            calls.append(1)
            return float(np.sum((np.asarray(x) - 1) ** 2))

        r = minimize(f, np.zeros(5), bounds=(-4, 4), max_evals=most)
        assert r.nfev <= max(most, 3)
        assert len(calls) <= max(most, 3) + 2


def test_rows_that_look_at_each_other_are_not_used():
    def crooked(x):  # right for one vector, and for rows wrong by a little
        return ((x - 1) ** 2).sum(-1) + 1e-6 * x.abs().max()

    r = minimize(crooked, torch.zeros(3), bounds=(-4, 4), max_evals=1000)
    assert r.how["rows"] == "vmap"
    assert float(crooked(r.x)) == r.fun


def test_columns_serve_as_rows_for_numpy_functions():
    r = minimize(lambda x: (x[0] - 1) ** 2 + np.cos(3 * x[1]) + 0.1 * x[1] ** 2, np.zeros(2), bounds=(-4, 4), max_evals=4000)
    assert r.how["rows"] == "columns"
    assert r.fun == pytest.approx(-1 + 0.1 * (math.pi / 3) ** 2, abs=0.02)


def test_random_state_is_as_it_was():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    minimize(rastrigin, torch.full((3,), 3.0), bounds=(-5, 5), max_evals=2000)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_without_bounds_a_budget_searches_beyond_the_first_valley():
    r = minimize(lambda x: rastrigin(x - 7.25), torch.zeros(3), max_evals=5000)
    assert r.fun < 1e-6


def test_options_of_strategies_are_set_by_name():
    r = minimize(rastrigin, torch.full((3,), 3.0), bounds=(-5, 5), max_evals=600, search="hopping", hopping__walkers=8)
    assert list(r.shares) == ["hopping", "descent"]


# ---- the result


def test_the_result_is_frozen_and_tells():
    r = minimize(bowl, torch.zeros(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        r.fun = 0.0
    assert isinstance(r, Result)
    text = r.explain()
    assert "evaluations" in text
    assert "Minimum" in text
    assert "\n" not in text


# ---- bad input: one line each


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: minimize(lambda x: 3.0, torch.zeros(2)), "ignores its argument"),
        (lambda: minimize(lambda x: torch.tensor(3.0), torch.zeros(2)), "ignores its argument"),
        (lambda: minimize(lambda x: x, torch.zeros(2)), r"shape \(2,\), expected one real number"),
        (lambda: minimize(lambda x: None, torch.zeros(2)), "NoneType, expected one real number"),
        (lambda: minimize(lambda x: x.log().sum(), torch.zeros(2)), "-inf at the start"),
        (lambda: minimize(lambda x: (x / 0 * 0).sum(), torch.zeros(2)), "nan at the start"),
        (lambda: minimize(lambda x: x.sqrt().sum(), torch.zeros(2)), "gradient at the start is not finite"),
        (lambda: minimize(lambda x: x.nothing(), torch.zeros(2)), "AttributeError at the start"),
        (lambda: minimize(bowl, torch.tensor([math.nan, 0.0])), "start: not finite"),
        (lambda: minimize(bowl, torch.zeros(2), bounds=(1, -1)), "crossed at coordinate 0"),
        (lambda: minimize(bowl, torch.zeros(2), bounds=[(1, 2)] * 3), "3 for 2 coordinates"),
        (lambda: minimize(bowl, torch.zeros(2), bounds=(math.nan, 1)), "NaN"),
        (lambda: minimize(bowl, torch.zeros(2), bounds=7), "expected pairs of numbers"),
        (lambda: minimize(bowl, torch.zeros(2), bounds=(1, 2)), r"coordinate 0 is 0, outside \[1, 2\]"),
        (lambda: minimize(bowl, torch.zeros(2), bound=(1, 2)), "did you mean 'bounds'"),
        (lambda: minimize(bowl, torch.zeros(2), search="hoping"), "did you mean 'hopping'"),
        (lambda: minimize(bowl, torch.zeros(2), hopping__walker=8), "did you mean 'walkers'"),
        (lambda: minimize(bowl, torch.zeros(2), search="cma", hopping__walkers=8), "has no 'hopping'"),
        (lambda: minimize(bowl, torch.zeros(2), time="soon"), "expected seconds above 0"),
        (lambda: minimize(bowl, torch.zeros(2), max_evals=0), "whole number above 0"),
        (lambda: minimize(bowl, torch.zeros(2), tol=-1), "expected a number above 0"),
        (lambda: minimize(bowl, torch.zeros(2), target=math.nan), "target"),
        (lambda: minimize(bowl, torch.zeros(2), seed=0.5), "seed"),
        (lambda: minimize(bowl, "here"), "str came"),
        (lambda: minimize(bowl, []), "no number in it"),
        (lambda: minimize(bowl, {"a": [torch.zeros(2), "x"]}), r"start\['a'\]\[1\]"),
        (lambda: minimize(bowl, torch.zeros(2, dtype=torch.complex64)), "complex64 came"),
        (lambda: minimize(bowl, torch.zeros(3).to_sparse()), "sparse came"),
        (lambda: minimize(3, torch.zeros(2)), "something to call"),
        (lambda: minimize(lambda m: 1.0, nn.ReLU()), "no number in it"),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(InputTrouble, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value) or "or such as" in str(caught.value)
