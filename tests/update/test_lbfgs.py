"""L-BFGS against torch's, and on problems that it must solve."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from descents import close, start
from gradlearn.optimizer import pack, unpack
from gradlearn.update.lbfgs import LBFGS


def valley(params: list[nn.Parameter]) -> Tensor:
    """A curved valley in each pair of neighbours."""
    x = torch.cat([p.reshape(-1) for p in params])
    return (10.0 * (x[1:] - x[:-1].square()).square() + (1.0 - x[:-1]).square()).sum()


def descend(update: torch.optim.Optimizer, params: list[nn.Parameter], steps: int) -> None:
    def closure() -> float:
        update.zero_grad()
        loss = valley(params)
        loss.backward()
        return loss.item()

    for _ in range(steps):
        update.step(closure)  # type: ignore[arg-type]


@pytest.mark.parametrize("line_search", [True, False])
def test_steps_are_torchs_also_over_two_groups(line_search: bool):
    a, b = start(), start()
    lr = 1.0 if line_search else 1e-3
    first = LBFGS([{"params": a[:2]}, {"params": a[2:]}], lr=lr, iterations=5, line_search=line_search)
    second = torch.optim.LBFGS(
        b, lr=lr, max_iter=5, history_size=10, tolerance_grad=1e-9, tolerance_change=1e-16,
        line_search_fn="strong_wolfe" if line_search else None,
    )  # fmt: skip
    descend(first, a, 4)
    descend(second, b, 4)
    assert close([p.detach() for p in a], [p.detach() for p in b])


def test_a_valley_is_solved_to_many_digits():
    params = start()
    descend(LBFGS(params), params, 40)
    assert valley(params).item() < 1e-15


def test_decay_is_a_term_of_the_loss():
    a, b = nn.Parameter(torch.full((2,), 3.0, dtype=torch.float64)), nn.Parameter(torch.full((3,), 3.0, dtype=torch.float64))
    update = LBFGS([{"params": [a], "weight_decay": 0.5}, {"params": [b], "weight_decay": 0.0}])

    def closure() -> float:
        update.zero_grad()
        loss = (a - 1.0).square().sum() + (b - 1.0).square().sum()
        loss.backward()
        return loss.item()

    for _ in range(5):
        update.step(closure)
    assert torch.allclose(a, torch.full_like(a, 0.8), atol=1e-8)  # 2 (a - 1) + a / 2 = 0
    assert torch.allclose(b, torch.ones_like(b), atol=1e-8)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_its_state_goes_through_a_checkpoint_and_torchs_state_goes_into_it(steps: int):
    a, b, c = start(), start(), start()
    first, second, third = LBFGS(a, iterations=3), LBFGS(b, iterations=3), LBFGS(c, iterations=3)
    twin_params = start()
    twin = torch.optim.LBFGS(
        twin_params, max_iter=3, history_size=10, tolerance_grad=1e-9, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    descend(first, a, steps)
    descend(twin, twin_params, steps)
    tensors, options = pack(first)
    assert all(isinstance(t, Tensor) for t in tensors.values())
    with torch.no_grad():
        for p, q, r, s in zip(a, b, c, twin_params, strict=True):
            q.copy_(p)
            r.copy_(s)
    unpack(second, tensors, options)
    state = copy.deepcopy(twin.state_dict())
    state["param_groups"][0]["weight_decay"] = 0.0
    third.load_state_dict(state)
    descend(first, a, 3)
    descend(second, b, 3)
    descend(third, c, 3)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert all(torch.allclose(p, q, rtol=1e-12) for p, q in zip(a, c, strict=True))
