"""What is read of a model and an optimizer of somebody else's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.connect.foreign import Foreign, Told, inner, norm_of, numbers, told, turn, turn_back


def test_the_norm_is_that_of_all_numbers_in_one_vector():
    chance = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, generator=chance) for n in (3, 5, 1)]
    whole = torch.linalg.vector_norm(torch.cat(parts))
    assert norm_of(parts).item() == pytest.approx(whole.item())
    mixed = [parts[0].half(), parts[1].double(), parts[2], torch.tensor([7])]
    assert norm_of(mixed).item() == pytest.approx(torch.linalg.vector_norm(torch.cat([t.double() for t in mixed[:3]])).item())
    assert norm_of([torch.full((4,), 300.0).half()]).item() == pytest.approx(600.0)  # whose square no half number holds
    twice = torch.sparse_coo_tensor(torch.tensor([[0, 0]]), torch.tensor([3.0, 1.0]), (2,), check_invariants=True)
    assert norm_of([twice]).item() == 4.0
    assert norm_of([]).item() == 0.0
    assert not norm_of([parts[0], torch.tensor([float("nan")])]).isfinite()


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_block_is_the_parameters_own_memory(order: torch.memory_format):
    model = nn.Conv2d(2, 3, 2, bias=False).to(memory_format=order)  # pyright: ignore[reportCallIssue]
    theta = Foreign(model, torch.optim.SGD(model.parameters(), 0.1))
    model(torch.ones(1, 2, 3, 3)).sum().backward()
    (block,) = theta.blocks
    assert model.weight.grad is not None
    assert torch.dot(block.flat, block.grad).item() == pytest.approx((model.weight * model.weight.grad).sum().item(), rel=1e-5)
    block.flat.zero_()
    assert torch.equal(model.weight, torch.zeros_like(model.weight))


def test_members_have_the_models_names_less_wrappers_and_the_roles_of_theta():
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    model = Wrapper(nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2)))
    theta = Foreign(model, torch.optim.SGD(model.parameters(), 0.1))
    found = {m.name: m.role for m in theta.members}
    assert found == {
        "0.weight": "embedding",
        "1.weight": "matrix",
        "1.bias": "rest",
        "2.weight": "rest",
        "2.bias": "rest",
        "3.weight": "head",
        "3.bias": "rest",
    }
    assert len(theta) == sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        next(model.parameters())[0, 0] = float("inf")
    assert theta.first_nonfinite() == ("0.weight", "value")


def test_rates_are_turned_and_turned_back_exactly():
    p = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": [p], "lr": 0.1}], lr=1.0)
    turned = turn(optimizer, 1 / 3)
    assert optimizer.param_groups[0]["lr"] == 0.1 / 3
    turn_back(turned)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert turn(optimizer, 1.0) == []
    turned = turn(optimizer, 0.5)
    optimizer.param_groups[0]["lr"] = 7.0  # somebody sets it during the step
    turn_back(turned)
    assert optimizer.param_groups[0]["lr"] == 7.0


def test_numbers_are_what_they_were():
    assert numbers([torch.tensor(2.5, requires_grad=True), 3.5]) == [2.5, 3.5]
    assert numbers([None])[0] != numbers([None])[0]


def test_what_a_check_asked_for_in_vain_is_known():
    model = nn.Linear(2, 1)
    objective = Told(model, None, None, 0)
    assert objective.data is None
    assert objective.missed == "it needs the data"
    objective = told(model, (torch.ones(3, 2), torch.ones(3, 1)), None, 0)
    assert len(objective.data) == 3
    assert objective.missed == ""
    with pytest.raises(NotImplementedError, match="needs the loss"):
        objective(objective.data(torch.tensor([0]), -1))
    full = told(model, (torch.ones(3, 2), torch.ones(3, 1)), "mse", 0)
    losses = full(full.data(torch.tensor([0, 1]), -1))
    assert losses.total.shape == (2,)


def test_the_optimizer_inside_wrappers_is_found():
    class Wrapper:
        def __init__(self, optimizer: object) -> None:
            self.optimizer = optimizer

    own = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
    assert inner(Wrapper(Wrapper(own))) is not own  # a wrapper of something that is no optimizer is left as it is
    assert inner(Wrapper(own)) is own
