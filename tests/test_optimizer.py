"""What every update has from `optimizer.py`: ranges, counts, copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.optimizer import number, pack, unpack
from gradlearn.update.nadam import NAdam
from gradlearn.update.sgd import SGD


def param(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full((3,), value))


BAD: list[tuple[str, Any]] = [("betas", (0.9, 1.0)), ("betas", (-0.1, 0.9)), ("eps", -1e-8), ("weight_decay", -0.1)]


@pytest.mark.parametrize(("option", "value"), BAD)
def test_a_number_out_of_range_is_refused_for_the_whole_and_for_a_group(option: str, value: Any):
    with pytest.raises(InputTrouble, match=rf"^--nadam\.{option} .*must be"):
        NAdam([param()], **{option: value})
    update = NAdam([param()])
    with pytest.raises(InputTrouble, match=rf"^--nadam\.{option} "):
        update.add_param_group({"params": [param()], option: value})


@pytest.mark.parametrize("lr", [-1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(lr: float):
    with pytest.raises(InputTrouble, match="learning rate"):
        SGD([param()], lr=lr)


def test_steps_are_counted_by_group_and_what_was_missed_by_tensor():
    a, b, c = param(), param(), param()
    update = NAdam([{"params": [a, b]}, {"params": [c]}])
    for t in range(5):
        a.grad = torch.ones(3)
        b.grad = torch.ones(3) if t > 2 else None
        c.grad = torch.ones(3) if t == 4 else None
        update.step()
    first, second = update.param_groups
    assert (first["step"], first["missed"]) == (5, (0, 3))
    assert (second["step"], second["missed"]) == (1, ())


def test_what_was_missed_goes_through_a_state_dict():
    runs = []
    for through in (False, True):
        a, b = param(), param()
        update = NAdam([a, b], lr=0.1)
        for t in range(6):
            if t == 3 and through:
                state = copy.deepcopy(update.state_dict())
                update = NAdam([a, b], lr=0.5)
                update.load_state_dict(state)
            a.grad, b.grad = torch.ones(3), torch.full((3,), 0.5) if t > 1 else None
            update.step()
        runs.append((a, b))
    assert all(torch.equal(p, q) for p, q in zip(*runs, strict=True))


@pytest.mark.parametrize("through", ["state_dict", "unpack"])
@pytest.mark.parametrize("name", ["NAdam", "RAdam", "Adagrad", "RMSprop", "Adadelta", "Adamax"])
def test_the_state_of_torchs_class_goes_in(name: str, through: str):
    """Also of an older run, in which it was torch's class."""
    options: dict[str, Any] = {"decoupled_weight_decay": True} if name in ("NAdam", "RAdam") else {}
    options |= {"foreach": False, "weight_decay": 0.1, "lr": 0.1}
    a, b = [param(), param(2.0)], [param(), param(2.0)]
    theirs, ours = getattr(torch.optim, name)(a, **options), find("update", name.lower())(b, lr=0.5)
    for t in range(8):
        for p, q in zip(a, b, strict=True):
            p.grad = torch.full((3,), 1.0 + t) if p is a[0] or t > 1 else None
            q.grad = None if p.grad is None else p.grad.clone()
        if t < 4:
            theirs.step()
            continue
        if t == 4:
            with torch.no_grad():
                for p, q in zip(a, b, strict=True):
                    q.copy_(p)
            if through == "unpack":
                unpack(ours, *pack(theirs))
            else:
                ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        theirs.step()
        ours.step()
    assert ours.param_groups[0]["step"] == 8
    assert all(torch.allclose(p, q, rtol=1e-5) for p, q in zip(a, b, strict=True))


def test_an_update_can_be_pickled_and_takes_no_hooks_and_no_addresses_along():
    a = param()
    update = NAdam([a], lr=0.1)
    update.register_step_pre_hook(lambda *_: None)
    a.grad = torch.ones(3)
    update.step()
    other = pickle.loads(pickle.dumps(update))
    assert "_sweeps" in vars(update)
    assert "_sweeps" not in vars(other)
    assert not other._optimizer_step_pre_hooks
    b = other.param_groups[0]["params"][0]
    a.grad = b.grad = torch.full((3,), 0.5)
    update.step()
    other.step()
    assert torch.equal(a, b)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_step_leaves_the_grad_mode_as_it_was(mode: bool, sparse: bool):
    """Also where it is refused; and its closure can always differentiate."""
    p = nn.Parameter(torch.ones(3, 2))
    update, seen = NAdam([p], lr=0.1), []
    p.grad = torch.ones(3, 2).to_sparse() if sparse else torch.ones(3, 2)
    with torch.set_grad_enabled(mode):
        if sparse:
            with pytest.raises(InputTrouble, match="sparse"):
                update.step()
        else:
            update.step(lambda: seen.append(torch.is_grad_enabled()) or 1.0)
            assert seen == [True]
        assert torch.is_grad_enabled() is mode


def test_a_loss_is_a_number_whatever_it_comes_as():
    assert number(torch.tensor(0.5, requires_grad=True)) == number(0.5) == 0.5
