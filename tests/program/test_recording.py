"""What a step does is heard in order, with where everything lies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradlearn.program.recording import Recording, plain_kernels
from gradlearn.program.unfit import Unfit


def test_operations_are_heard_in_order_forward_and_backward() -> None:
    w = torch.ones(3, requires_grad=True)
    with Recording() as recording:
        torch.autograd.grad((w * 2.0).sin().sum(), w)
    names = [op.name.partition(".")[0] for op in recording.ops]
    assert names[:3] == ["mul", "sin", "sum"]
    assert names.index("cos") > 2


def test_views_are_other_places_of_one_store() -> None:
    x = torch.zeros(4, 6)
    recording = Recording()
    whole, part = recording.place(x), recording.place(x[1:, ::2].T)
    assert part.store == whole.store
    assert (part.offset, part.shape, part.strides) == (6, (3, 3), (2, 6))
    assert recording.place(x.clone()).store != whole.store


def test_what_is_made_is_told_from_what_was_there() -> None:
    x = torch.zeros(3)
    recording = Recording()
    own = recording.place(x)
    with recording:
        y = x + 1.0
        y.mul_(2.0)
    assert recording.made == {recording.place(y).store}
    assert own.store not in recording.made
    assert [op.mutates for op in recording.ops] == [False, True]


def test_chance_is_told() -> None:
    with Recording() as recording:
        torch.rand(3)
        torch.zeros(3).normal_()
        torch.nn.functional.dropout(torch.ones(3), 0.5)
    assert {op.name.partition(".")[0] for op in recording.ops if op.random} == {"rand", "normal_", "bernoulli_"}


def test_no_address_comes_twice() -> None:
    """Memory that is freed while a step goes on would be given to the next tensor: two stores would become one."""
    with Recording() as recording:
        stores = [recording.place(torch.full((1000,), float(k))).store for k in range(50)]
    assert len(set(stores)) == 50


def test_listening_changes_nothing() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)), torch.randn(2, 3)
    torch.manual_seed(1)
    plain = model(x)
    torch.manual_seed(1)
    with Recording():
        heard = model(x)
    assert torch.equal(plain, heard)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x.sum().item(), "reads a number"),
        (lambda x: float(x[0]), "reads a number"),
        (lambda x: bool(x[0] > 0), "reads a number"),
        (lambda x: x.nonzero(), "size depends on values"),
        (lambda x: x.masked_select(x > 0), "size depends on values"),
        (lambda x: x[x > 0], "size depends on values"),
        (lambda x: x.unique(), "size depends on values"),
        (lambda x: torch.equal(x, x + 1.0), "compares tensors"),
        (lambda x: torch.eye(3).to_sparse(), "."),
        (lambda x: torch.complex(x, x).conj().imag * 2.0, "."),
    ],
)
def test_what_cannot_be_heard_is_said(function: Callable[[Tensor], object], why: str) -> None:
    with pytest.raises(Unfit, match=why), Recording():
        function(torch.tensor([1.0, -1.0, 2.0]))


def test_other_tensors_than_plain_ones_are_unfit() -> None:
    class Odd(Tensor):
        pass

    with pytest.raises(Unfit, match="makes a Odd"):
        Recording().place(torch.zeros(3).as_subclass(Odd))
    with pytest.raises(Unfit, match="programs are for the processor"):
        Recording().place(torch.zeros(3, device="meta"))


def test_recurrent_layers_and_attention_are_heard_in_pieces() -> None:
    model = nn.GRU(2, 3)
    with plain_kernels(model), Recording() as recording:
        model(torch.zeros(4, 1, 2))
        torch.nn.functional.scaled_dot_product_attention(*[torch.zeros(1, 2, 4, 8)] * 3)
    names = {op.name.partition(".")[0] for op in recording.ops}
    assert {"sigmoid_", "tanh_", "addmm"} <= names
    assert not {name for name in names if "mkldnn" in name or "attention" in name}
