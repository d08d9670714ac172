"""What is kept comes back in place, and nothing else is touched."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from gradlearn.connect.foreign import Foreign
from gradlearn.connect.memory import FEW, Buffers, remember


def stepped(optimizer: torch.optim.Optimizer, p: torch.Tensor) -> None:
    p.grad = torch.ones_like(p)
    optimizer.step()  # pyright: ignore[reportCallIssue]


def test_rates_and_what_else_is_scheduled_stay_as_they_are():
    p = nn.Parameter(torch.ones(2))
    model = nn.ParameterList([p])
    optimizer = torch.optim.Adam([{"params": [p], "k": 1}], lr=0.1)
    memory = remember(0, Foreign(model, optimizer))
    stepped(optimizer, p)
    optimizer.param_groups[0].update(lr=0.01, betas=(0.8, 0.9), k=5)
    memory.restore(optimizer)
    assert torch.equal(p, torch.ones(2))
    assert len(optimizer.state) == 0  # it had none when it was remembered
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    assert optimizer.param_groups[0]["k"] == 1


def test_an_optimizer_that_keeps_its_state_elsewhere_is_put_back_by_its_own_state_dict():
    class Hidden(torch.optim.SGD):
        count = 0

        def step(self, closure: Any = None) -> Any:
            self.count += 1
            return super().step(closure)

        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"count": self.count}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.count = state_dict["count"]
            super().load_state_dict({k: v for k, v in state_dict.items() if k != "count"})

    p = nn.Parameter(torch.ones(2))
    optimizer = Hidden([p], lr=0.1, momentum=0.9)
    stepped(optimizer, p)
    memory, moment = remember(0, Foreign(nn.ParameterList([p]), optimizer)), optimizer.state[p]["momentum_buffer"].clone()
    optimizer.param_groups[0]["lr"] = 0.3
    stepped(optimizer, p)
    memory.restore(optimizer)
    assert optimizer.count == 1
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert torch.equal(optimizer.state[p]["momentum_buffer"], moment)


def test_what_is_kept_is_a_copy_and_can_be_put_back_twice():
    p = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([p], lr=0.1)
    stepped(optimizer, p)
    memory, then = remember(0, Foreign(nn.ParameterList([p]), optimizer)), copy.deepcopy(optimizer.state[p])
    place = optimizer.state[p]["exp_avg"]
    for _ in range(2):
        stepped(optimizer, p)
        memory.restore(optimizer)
        assert optimizer.state[p]["exp_avg"] is place
        assert all(torch.equal(optimizer.state[p][k], v) for k, v in then.items())


def test_others_are_kept_and_put_back_too():
    p = nn.Parameter(torch.ones(1))
    optimizer, average = torch.optim.SGD([p], 0.1), nn.Linear(1, 1)
    memory = remember(0, Foreign(nn.ParameterList([p]), optimizer), also=(average,))
    before = average.weight.clone()
    with torch.no_grad():
        average.weight.add_(1.0)
    memory.restore(optimizer)
    assert torch.equal(average.weight, before)


def test_a_memory_knows_whether_it_is_finite():
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    optimizer = torch.optim.Adam(model.parameters())
    theta = Foreign(model, optimizer)
    assert not remember(0, theta).finite()
    assert remember(0, theta).finite(buffers=False)
    stepped(optimizer, model.weight)
    optimizer.state[model.weight]["exp_avg"][0, 0] = float("nan")
    assert not remember(0, theta).finite(buffers=False)


def test_buffers_too_large_to_copy_each_step_are_mended_from_the_last_memory():
    model = nn.Linear(2, 2)
    model.register_buffer("large", torch.ones(FEW + 1))
    model.register_buffer("count", torch.zeros((), dtype=torch.int64))
    theta = Foreign(model, torch.optim.SGD(model.parameters(), 0.1))
    buffers = Buffers(theta)
    buffers.note()
    assert buffers.kept == []
    memory = remember(0, theta)
    large, count = theta.buffers()
    large[3], large[4] = float("nan"), 2.0
    count += 1
    buffers.mend([memory])
    assert torch.equal(large, torch.ones(FEW + 1))
    assert count == 1  # a number is not known to be wrong
