"""Split: equal to its parts run apart bit for bit, one list of groups, one state."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.optimizer import pack, unpack
from gradlearn.update.adamw import AdamW
from gradlearn.update.lion import Lion
from gradlearn.update.muon import Muon
from gradlearn.update.sgd import SGD
from gradlearn.update.soap import SOAP
from gradlearn.update.split import Split

ROLES = {"matrix": [(6, 4), (6, 4)], "embedding": [(9, 4)], "head": [(3, 6)], "rest": [(6,), ()]}
PARTS: dict[str, Any] = {"matrix": Muon, "embedding": Lion, "head": SOAP, "rest": torch.optim.NAdam}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tensors() -> dict[str, list[nn.Parameter]]:
    return {role: [nn.Parameter(draw(*s, seed=i)) for i, s in enumerate(shapes)] for role, shapes in ROLES.items()}


def groups(params: dict[str, list[nn.Parameter]]) -> list[dict[str, Any]]:
    return [{"params": ps, "role": role} for role, ps in params.items()]


def give(params: dict[str, list[nn.Parameter]], t: int) -> None:
    for k, role in enumerate(params):
        for i, p in enumerate(params[role]):
            p.grad = draw(*p.shape, seed=100 * t + 10 * k + i)


def same(a: dict[str, list[nn.Parameter]], b: dict[str, list[nn.Parameter]]) -> bool:
    return all(torch.equal(p, q) for role in a for p, q in zip(a[role], b[role], strict=True))


def test_it_is_its_parts_run_apart_bit_for_bit():
    a, b = tensors(), tensors()
    rates = dict(zip(ROLES, (1.0, 3.0, 0.5, 2.0), strict=True))
    split = Split(groups(a), lr=0.01, rates=tuple(rates.values()), **PARTS)  # type: ignore[arg-type]
    apart = {role: PARTS[role](b[role], lr=0.01 * rates[role]) for role in ROLES}
    schedules = [torch.optim.lr_scheduler.LambdaLR(u, lambda t: 1 / (1 + t)) for u in (split, *apart.values())]
    for t in range(25):
        give(a, t)
        give(b, t)
        split.step()
        for update in apart.values():
            update.step()
        for schedule in schedules:
            schedule.step()
    assert same(a, b)
    assert not same(a, tensors())


def test_its_groups_and_state_are_those_of_its_parts():
    a = tensors()
    split = Split(groups(a), lr=0.01, rates=(1.0, 3.0, 0.5, 2.0), **PARTS)
    assert [(g["role"], round(g["lr"], 6)) for g in split.param_groups] == [
        ("matrix", 0.01),
        ("embedding", 0.03),
        ("head", 0.005),
        ("rest", 0.02),
    ]
    assert split.param_groups[0]["momentum"] == 0.95
    assert "exp_avg" in split.state[a["embedding"][0]]
    assert "basis1" in split.state[a["head"][0]]


@pytest.mark.parametrize("way", ["state_dict", "pack", "deepcopy"])
def test_state_goes_round_in_the_middle(way: str):
    a, b = tensors(), tensors()
    first = Split(groups(a), lr=0.01, **PARTS)
    second = Split(groups(b), lr=0.5, **PARTS)
    for t in range(12):
        give(a, t)
        first.step()
    with torch.no_grad():
        for role in a:
            for p, q in zip(a[role], b[role], strict=True):
                q.copy_(p)
    if way == "state_dict":
        second.load_state_dict(copy.deepcopy(first.state_dict()))
    elif way == "pack":
        unpack(second, *pack(first))
    else:
        second = copy.deepcopy(first)
        flat = iter([p for group in second.param_groups for p in group["params"]])
        b = {role: [next(flat) for _ in ps] for role, ps in a.items()}
    for t in range(12, 30):
        give(a, t)
        give(b, t)
        first.step()
        second.step()
    assert same(a, b)


def test_without_roles_matrices_are_told_by_their_shape():
    params = [nn.Parameter(draw(5, 3)), nn.Parameter(draw(5)), nn.Parameter(draw(4, 3, 2, 2))]
    split = Split(params, lr=0.01, matrix=Muon, rest=AdamW)
    assert [[tuple(p.shape) for p in g["params"]] for g in split.param_groups] == [[(5, 3), (4, 3, 2, 2)], [(5,)]]
    plain = Split(
        [nn.Parameter(p.detach().clone()) for p in params], lr=0.01, matrix=torch.optim.Muon
    )  # torch's Muon: no convolutions
    assert [[tuple(p.shape) for p in g["params"]] for g in plain.param_groups] == [[(5, 3)], [(5,), (4, 3, 2, 2)]]


def test_a_part_may_be_a_name_of_torchs_a_class_or_a_function():
    params = [nn.Parameter(draw(5, 3)), nn.Parameter(draw(5))]
    split = Split(params, lr=0.01, matrix=partial(SGD, momentum=0.5), rest="rmsprop")
    assert split.param_groups[0]["momentum"] == 0.5
    assert split.param_groups[1]["alpha"] == 0.99
    with pytest.raises(InputTrouble, match="did you mean 'rmsprop'"):
        Split(params, lr=0.01, rest="rmsprob")


def test_observe_reaches_every_part():
    from gradlearn.symbols import Estimate

    class Told(SGD):
        def observe(self, estimate: Estimate) -> None:
            self.heard = estimate.loss

    params = [nn.Parameter(draw(5, 3)), nn.Parameter(draw(5))]
    split = Split(params, lr=0.01, matrix=Told, rest=Told)
    split.observe(Estimate(3.0, 1.0, 2))
    assert [inner.heard for inner in split._inside.values()] == [3.0, 3.0]  # type: ignore[attr-defined]


def test_what_cannot_be_inside_is_refused():
    class Closure(SGD):
        needs_closure = True

    with pytest.raises(InputTrouble, match="evaluates the loss again"):
        Split([nn.Parameter(draw(5, 3))], lr=0.01, matrix=Closure)
    with pytest.raises(InputTrouble, match="role is 'matrx'"):
        Split([{"params": [nn.Parameter(draw(5, 3))], "role": "matrx"}], lr=0.01)
    with pytest.raises(InputTrouble, match=r"--split\.rates"):
        Split([nn.Parameter(draw(5, 3))], lr=0.01, rates=(1.0, 1.0))  # type: ignore[arg-type]
    a = nn.Parameter(draw(5, 3))
    split = Split([a], lr=0.01, matrix=Muon, rest=AdamW)
    with pytest.raises(ValueError, match="more than one parameter group"):
        split.add_param_group({"params": [a]})
