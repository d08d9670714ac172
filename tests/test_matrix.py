"""Tensors as matrices: views go there and back, sums are what they stand for, one turn and one stack for each shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.matrix import Family, Whole, act, active, gram_, normal, shape_of, sides, unfold, whole
from gradlearn.update.muon import Muon
from gradlearn.update.shampoo import Shampoo
from gradlearn.update.soap import SOAP


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("shape", "parts"), [((6, 4), 1), ((6, 4), 3), ((6, 4, 3, 2), 1), ((6, 4, 3), 2), ((5,), 1), ((), 1)])
def test_sides_and_back_is_the_same_tensor(shape: tuple[int, ...], parts: int):
    params = [nn.Parameter(draw(*shape, seed=s)) for s in range(3)]
    batch = torch.stack([p.detach() for p in params])
    x = sides(batch, parts)
    assert x.shape == (3 * parts, *shape_of(params[0], {"parts": parts})[1:])
    assert all(torch.equal(a, b) for a, b in zip(unfold(x, params), params, strict=True))


def test_sides_of_a_kernel_are_a_matrix_for_each_place():
    w = draw(6, 4, 3, 2)
    x = sides(w.unsqueeze(0))
    assert x.shape == (1, 6, 6, 4)
    assert torch.equal(x[0, 5], w[:, :, 2, 1])


def test_parts_are_matrices_one_below_the_other():
    w = draw(6, 4)
    assert torch.equal(sides(w.unsqueeze(0), 3)[1, 0], w[2:4])


@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("k", [1, 3])
def test_act_and_gram_are_the_sums_they_stand_for(side: int, k: int):
    x = draw(2, k, 4, 5)
    n = x.shape[1 + side]
    m = draw(2, n, n, seed=1)
    letters = "nkoi"
    inner = letters.replace(letters[1 + side], "b")
    assert torch.allclose(act(m, x, side), torch.einsum(f"n{letters[1 + side]}b,{inner}->{letters}", m, x))
    into = draw(2, n, n, seed=2)
    want = 0.5 * into + 0.25 * torch.einsum(f"{letters},{inner}->n{letters[1 + side]}b", x, x)
    assert torch.allclose(gram_(into, x, side, 0.5, 0.25), want)


@pytest.mark.parametrize("side", [1, 2])
def test_half_a_gram_made_whole_is_the_gram(side: int):
    x = draw(2, 1, 300, 300)
    half = gram_(torch.zeros(2, 300, 300, dtype=x.dtype), x, side, 0.0, 1.0, half=True)
    half = gram_(half, x, side, 0.5, 0.25, half=True)
    full = 0.75 * (x[:, 0] @ x[:, 0].mT if side == 1 else x[:, 0].mT @ x[:, 0])
    assert torch.allclose(whole(half), full)
    assert (half - full).tril(-1).abs().max() > 1  # so it is half the work


def test_active_sides_are_longer_than_one_and_within_the_cap():
    assert active((7, 1, 4, 9), 8) == (1,)
    assert active((7, 9, 4, 2), 9) == (0, 1, 2)
    assert active((1, 1, 1, 1), 9) == ()


def test_normal_numbers_are_a_function_of_the_key_alone():
    like = torch.zeros(())
    before = torch.get_rng_state()
    a, b, c = normal((20_000,), like, 7), normal((20_000,), like, 7), normal((20_000,), like, 8)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert abs(a.mean()) < 0.03
    assert abs(a.std() - 1) < 0.02
    assert torch.equal(torch.get_rng_state(), before)


class Probe(Whole):
    """A turn that notes what it was given: theta moves by the mean of what was counted."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        self.turns: list[tuple[list[int], int]] = []
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0})

    def takes(self, p: Tensor, group: dict[str, Any]) -> bool:
        return True

    def begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"count": torch.zeros(shape_of(p, group))}

    def turn(self, families: list[Family], group: dict[str, Any], step: int) -> None:
        self.turns.append(([len(family.params) for family in families], step))
        for family in families:
            count = family.stack("count")
            assert count.shape == (len(family.params), 1, *family.params[0].shape)
            count.add_(family.gradients())


def test_tensors_of_one_shape_are_one_family_and_their_state_is_one_stack():
    params = [nn.Parameter(torch.zeros(2, 3)) for _ in range(4)] + [nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(5))]
    update = Probe(params)
    for _ in range(3):
        for i, p in enumerate(params):
            p.grad = torch.full_like(p, float(i))
        update.step()
    assert update.turns == [([4, 1], 1), ([4, 1], 2), ([4, 1], 3)]
    storages = {update.state[p]["count"].untyped_storage().data_ptr() for p in params[:4]}
    assert len(storages) == 1
    for i, p in enumerate(params[:5]):
        assert torch.equal(update.state[p]["count"][0, 0], torch.full_like(p, 3.0 * i))


def test_a_tensor_without_a_gradient_keeps_its_count_and_comes_back_in_a_turn_of_its_own():
    a, b = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2, 3))
    update = Probe([a, b])
    a.grad = torch.ones(2, 3)
    update.step()
    b.grad = torch.ones(2, 3)
    update.step()
    assert update.turns == [([1], 1), ([1], 2), ([1], 1)]
    assert torch.equal(update.state[a]["count"][0, 0], 2 * torch.ones(2, 3))
    assert torch.equal(update.state[b]["count"][0, 0], torch.ones(2, 3))


def test_counters_that_somebody_has_changed_make_families_anew():
    a, b = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2, 3))
    update = Probe([a, b])
    a.grad, b.grad = torch.ones(2, 3), torch.ones(2, 3)
    update.step()
    update.state[a]["step"].fill_(7.0)
    update.step()
    update.state[b]["step"] = torch.tensor(8.0)
    update.step()
    assert update.turns == [([2], 1), ([1], 8), ([1], 2), ([1, 1], 9)]
    assert [update.state[p]["step"].item() for p in (a, b)] == [9.0, 9.0]


def test_state_moved_by_somebody_else_is_seen():
    """As Lightning and accelerate do it: a new tensor in a parameter's state, or a new dictionary."""
    a, b = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2, 3))
    update = Probe([a, b])
    a.grad, b.grad = torch.ones(2, 3), torch.ones(2, 3)
    update.step()
    update.state[b]["count"] = torch.full((1, 1, 2, 3), 5.0)
    update.step()
    assert torch.equal(update.state[b]["count"], torch.full((1, 1, 2, 3), 6.0))
    update.state[a] = {name: t + (name == "count") for name, t in update.state[a].items()}
    update.step()
    assert torch.equal(update.state[a]["count"], torch.full((1, 1, 2, 3), 4.0))
    assert torch.equal(update.state[b]["count"], torch.full((1, 1, 2, 3), 7.0))


def test_loaded_state_takes_the_place_of_the_stack_and_keeps_its_type():
    params = [nn.Parameter(torch.zeros(2, 3, dtype=torch.bfloat16)) for _ in range(2)]
    update = Probe(params)
    for p in params:
        p.grad = torch.full_like(p, 0.1)
    update.step()
    state = update.state_dict()
    state["state"][0]["count"] = torch.full((1, 1, 2, 3), 1 + 2.0**-20)
    update.load_state_dict(state)
    update.step()
    assert update.state[params[0]]["count"].dtype == torch.float32
    assert torch.allclose(update.state[params[0]]["count"], torch.full((1, 1, 2, 3), 1.1 + 2.0**-20), atol=3e-4)
    assert torch.allclose(update.state[params[1]]["count"], torch.full((1, 1, 2, 3), 0.2), atol=6e-4)


def test_what_it_cannot_take_is_refused_in_one_line():
    with pytest.raises(InputTrouble, match="parts=3"):
        Probe([{"params": [nn.Parameter(torch.zeros(4, 2))], "parts": 3}])
    with pytest.raises(InputTrouble, match="dense real"):
        Probe([nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))])
    p = nn.Parameter(torch.zeros(4, 2))
    update = Probe([p])
    p.grad = torch.sparse_coo_tensor(torch.tensor([[0], [1]]), torch.ones(1), (4, 2), check_invariants=True)
    with pytest.raises(InputTrouble, match="sparse"):
        update.step()
    with pytest.raises(InputTrouble, match="learning rate"):
        Probe([nn.Parameter(torch.zeros(2, 2))], lr=-1.0)


@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_no_matrix_is_stepped_by_torchs_adamw_bitwise(gaps: bool):
    wide = draw(10, dtype=torch.float32)
    a = nn.Parameter(wide[::2] if gaps else wide[::2].clone())
    b = nn.Parameter(wide[::2].clone())
    ours = Probe([a], lr=0.01)
    theirs = torch.optim.AdamW([b], lr=0.01, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for t in range(20):
        a.grad, b.grad = (draw(5, seed=t, dtype=torch.float32) for _ in range(2))
        ours.step()
        theirs.step()
    assert torch.equal(a, b)
    assert not torch.equal(b, draw(10, dtype=torch.float32)[::2])


@pytest.mark.parametrize("kind", [SOAP, Shampoo, Muon])
def test_kinds_of_numbers_in_one_group_are_stepped_as_alone(kind: Any):
    """The first is float32; a later bfloat16 is rounded once all the same."""
    g = torch.Generator().manual_seed(0)
    kinds = (torch.float32, torch.bfloat16, torch.float64)
    params = [nn.Parameter(torch.randn(4 + i, 3, generator=g).to(k)) for i, k in enumerate(kinds)]
    alone = [nn.Parameter(p.detach().clone()) for p in params]
    update, others = kind(params, lr=0.01), [kind([p], lr=0.01) for p in alone]
    for _ in range(3):
        for p, q in zip(params, alone, strict=True):
            p.grad = torch.randn(p.shape, generator=g).to(p.dtype)
            q.grad = p.grad.clone()
        update.step()
        for other in others:
            other.step()
    for p, q in zip(params, alone, strict=True):
        assert torch.equal(p, q)
