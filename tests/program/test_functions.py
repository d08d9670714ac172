"""Exponentials and the like in elementary arithmetic: as exact as they say, and right where there is no number or no end."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gradlearn.program.functions import FUNCTIONS
from programs import Ran

inf, nan = math.inf, math.nan
DTYPES = (torch.float32, torch.float64)
COUNT = 20_000

RANGES = {
    "exp": [(-86.9, 88.7), (-1, 1), (-1e-4, 1e-4)],
    "log": [(1e-30, 1e-3), (0.5, 2), (0.999, 1.001), (1, 1e30)],
    "log1p": [(-0.999, 1), (-1e-3, 1e-3), (-1e-9, 1e-9), (0, 1e10)],
    "expm1": [(-10, 10), (-0.6, 0.6), (-1e-3, 1e-3), (-1e-10, 1e-10)],
    "tanh": [(-12, 12), (-0.7, 0.7), (-1e-3, 1e-3)],
    "erf": [(-5, 5), (-1, 1), (-1e-3, 1e-3)],
    "sin": [(-1, 1), (-10, 10), (-1e4, 1e4), (-1e8, 1e8), (3.14159, 3.141593)],
    "cos": [(-1, 1), (-10, 10), (-1e4, 1e4), (-1e8, 1e8), (1.57079, 1.570797)],
}


@functools.lru_cache
def program(name: str, dtype: torch.dtype) -> Ran:
    return Ran(lambda x: [getattr(torch, name)(x)], [torch.zeros(COUNT, dtype=dtype)])


def values(name: str, x: Tensor) -> Tensor:
    padded = torch.cat([x, torch.zeros(COUNT - len(x), dtype=x.dtype)])
    return program(name, x.dtype)(padded)[0][: len(x)]


def exact(name: str, x: Tensor) -> np.ndarray:
    wide = x.double().numpy().astype(np.longdouble)
    return np.array([math.erf(v) for v in wide], np.longdouble) if name == "erf" else getattr(np, name)(wide)


def test_every_function_is_tried() -> None:
    assert RANGES.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RANGES)
def test_errors_are_a_few_units_in_the_last_place(name: str, dtype: torch.dtype) -> None:
    bound = 6.0 if dtype is torch.float32 and name in ("tanh", "erf") else 3.0
    for low, high in RANGES[name]:
        x = torch.from_numpy(np.random.default_rng(0).uniform(low, high, COUNT)).to(dtype)
        true = exact(name, x)
        unit = np.abs(np.spacing(true.astype(np.float32 if dtype is torch.float32 else np.float64)))
        assert (np.abs(values(name, x).numpy() - true) / unit).max() <= bound, (low, high)


EDGES = {
    "exp": [0.0, -0.0, inf, -inf, nan, 89.0, 710.0, -800.0, 1.0],
    "log": [0.0, -0.0, inf, -inf, nan, -1.0, 1.0, 1e-40, 1e-310, 3e38],
    "log1p": [0.0, -0.0, inf, -inf, nan, -1.0, -2.0, 1e-30, 3e38],
    "expm1": [0.0, -0.0, inf, -inf, nan, 89.0, 710.0, -800.0, -50.0, 1e-30],
    "tanh": [0.0, inf, -inf, nan, 1e-30, 50.0, -50.0, 9.0, -9.0],
    "erf": [0.0, inf, -inf, nan, 1e-30, 50.0, -50.0],
    "sin": [0.0, inf, -inf, nan, 1e-30],
    "cos": [0.0, -0.0, inf, -inf, nan, 1e-30],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EDGES)
def test_edges_are_pytorchs(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor(EDGES[name], dtype=dtype)
    share = 1e-6 if dtype is torch.float32 else 1e-14
    torch.testing.assert_close(values(name, x), getattr(torch, name)(x), rtol=share, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_below_the_normal_numbers_is_nothing(dtype: torch.dtype) -> None:
    least = math.log(torch.finfo(dtype).tiny)
    x = torch.linspace(least - 20, least + 3, 100, dtype=dtype)
    found, true = values("exp", x), torch.exp(x)
    assert torch.all((found == 0.0) | (found >= torch.finfo(dtype).tiny))
    torch.testing.assert_close(found, true, rtol=1e-6, atol=2 * torch.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_has_bounds_stays_within(dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 12, COUNT, dtype=dtype)
    far = torch.tensor([1e12, -3e15, 1e17, 1e30, -3e38], dtype=dtype)
    for name in ("tanh", "erf", "sin", "cos"):
        assert values(name, x).abs().max() <= 1.0
        assert values(name, far).abs().max() <= 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_that_rise_do_not_fall(dtype: torch.dtype) -> None:
    """To within rounding: a unit in the last place of 1."""
    x = torch.linspace(-9, 9, COUNT, dtype=dtype)
    for name in ("exp", "expm1", "tanh", "erf"):
        y = values(name, x)
        assert torch.all(y[1:] - y[:-1] >= -6 * torch.finfo(dtype).eps * y[1:].abs())
