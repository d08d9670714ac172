"""Operations of more than one coordinate: a program does with them what PyTorch does, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.program.frame import Body
from gradlearn.program.meaning import MEANINGS, express
from gradlearn.program.recording import Recording
from gradlearn.program.unfit import Unfit
from programs import Function, Ran, agree, differentiated, named, twin

aten = torch.ops.aten
nan = float("nan")


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def whole(*shape: int, below: int, seed: int = 0) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


def slopes(functions: dict[str, Callable[..., Tensor]]) -> dict[str, Function]:
    return {name: differentiated(f) for name, f in functions.items()}


FILLED: dict[str, Function] = {
    "zeros": lambda a: [
        torch.zeros(3).add_(a[0, 0]),
        torch.zeros_like(a).add_(a),
        a.new_zeros(2, 2).add_(a[0, 0]),
        a.clone().zero_(),
    ],
    "ones": lambda a: [torch.ones(3).mul_(a[0, 0]), torch.ones_like(a).mul_(a), a.new_ones(2, 2).mul_(a[1, 1])],
    "full": lambda a: [torch.full((3,), 2.5).mul_(a[0, 0]), torch.full_like(a, 0.1).add_(a), a.new_full((2,), 7).mul_(a[0, 0])],
    "fill": lambda a: [a.clone().fill_(3), a.clone().fill_(a[0, 0]), (a > 0).fill_(True), a.long().fill_(2.9)],
    "empty": lambda a: [torch.empty(3).copy_(a[0, :3]), torch.empty_like(a).copy_(a), a.new_empty(3).fill_(1).add_(a[0, 0])],
    "empty with strides": lambda a: [
        torch.empty_strided((3, 4), (1, 3)).copy_(a),
        a.new_empty_strided((3, 4), (8, 2)).copy_(a) * 2,
    ],
    "number": lambda a: [torch.scalar_tensor(0.3).mul_(a[0, 0]), torch.tensor([1.0, 2.0]) * a[0, 0], a.detach() * 2],
    "copy": lambda a: [torch.zeros(3, 4, dtype=torch.float64).copy_(a), torch.zeros(2, 3, 4).copy_(a), a.clone().copy_(a[0])],
    "into parts": lambda a: [written(a), halves(a), diagonal(a)],
}


def written(a: Tensor) -> Tensor:
    out = torch.zeros(6, 8)
    out[1:4, ::2] = a
    out[4] = a[0, 1]
    out[:, 7].mul_(2).add_(1)
    return out


def halves(a: Tensor) -> Tensor:
    """Rotated in place: the first half is read before it is written over."""
    b = a.clone()
    x, y = b.chunk(2, 1)
    x, y = x - y, y.mul_(2).add_(x)
    b[:, :2].copy_(x)
    return b


def diagonal(a: Tensor) -> Tensor:
    b = torch.zeros(3, 3)
    b.diagonal().copy_(a[0, :3])
    return b + b.T


MOVED = slopes(
    {
        "flip": lambda a: a.flip(0, 2) * a.flip(1),
        "flip turned": lambda a: a.transpose(0, 2).flip(-1).sigmoid(),
        "cat": lambda a: torch.cat([a, a.sigmoid(), a[:1]], 0),
        "cat last": lambda a: torch.cat([a, a * 2], -1).transpose(0, 1),
        "cat with nothing": lambda a: torch.cat([a, torch.empty(0), a[:0]]),
        "cat of kinds": lambda a: torch.cat([a, a.double()], 1),
        "stack": lambda a: torch.stack([a, a.exp()], 1),
        "stack last": lambda a: torch.stack([a, a * 3], -1),
        "slice": lambda a: a[1:, ::2, -2:].exp(),
        "select": lambda a: a[1] * a[:, :, -1].sum(),
        "pad": lambda a: F.pad(a, (1, 2, 0, 1), value=0.5),
        "permute": lambda a: a.permute(2, 0, 1).reshape(8, 3).sin(),
        "expand": lambda a: a[:, :1].expand(3, 5, 2) * a[:, 1:2],
        "unbind": lambda a: a.unbind(1)[0] * a.unbind(1)[1],
        "split": lambda a: a.split([1, 3], 1)[1].exp() + a.chunk(2, 1)[0][:, :1],
        "where": lambda a: torch.where(a[:, :, :1] > 0, a, torch.zeros(())),
    }
)
FOLDED = slopes(
    {
        "sum": lambda a: a.sum(),
        "sum 0": lambda a: a.sum(0),
        "sum kept": lambda a: a.sum((0, 2), keepdim=True) * a,
        "sum wide": lambda a: a.sum(1, dtype=torch.float64),
        "sum turned": lambda a: a.transpose(0, 2).sum(0),
        "mean": lambda a: a.mean((1, -1)),
        "mean all": lambda a: a.mean() * a,
        "mean kept": lambda a: a - a.mean(-1, keepdim=True),
        "var": lambda a: a.var(1),
        "var all": lambda a: a.var(correction=0),
        "var_mean": lambda a: torch.stack(torch.var_mean(a, (0, 1), correction=2)),
        "std": lambda a: a.std(2),
        "std biased": lambda a: a.std((0, 1), unbiased=False, keepdim=True),
        "std_mean": lambda a: torch.stack(torch.std_mean(a, 0)),
        "norm": lambda a: a.norm() * a.norm(dim=1),
        "norm 1": lambda a: torch.linalg.vector_norm(a, 1, (0, 2)),
        "norm wide": lambda a: torch.linalg.vector_norm(a, dtype=torch.float64),
        "amax": lambda a: a.amax(1),
        "amin": lambda a: a.amin((0, 2), keepdim=True) + a,
        "max": lambda a: a.max(1).values,
        "min": lambda a: a.min(2, keepdim=True).values * a,
        "max of all": lambda a: a.max() - a.min(),
        "softmax": lambda a: a.softmax(1),
        "log_softmax": lambda a: a.log_softmax(-1),
        "softmax of one": lambda a: a[:, :1].softmax(1) * a,
        "logsumexp": lambda a: torch.log(torch.exp(a - a.amax(1, keepdim=True)).sum(1)),
    }
)
CHOSEN: dict[str, Function] = {
    "max": lambda a: [*a.max(1), *a.min(0, keepdim=True), a.transpose(0, 2).max(-1).indices],
    "ties": lambda a: [a.sign().max(1).indices, a.sign().min(2).indices],
    "gathered by it": lambda a: [a.gather(1, a.max(1, keepdim=True).indices)],
    "whole numbers": lambda a: [
        (a * 9).long().amax(1),
        (a * 9).to(torch.int8).amin(1),
        ((a * 9).abs() + 99).to(torch.uint8).amax(0),
    ],
    "whole sums": lambda a: [(a * 9).long().sum(1), (a > 0).sum(), (a > 0).sum(2), (a * 9).int().sum(0), (a > 0).float().mean()],
    "safe softmax": lambda a: [aten._safe_softmax(torch.where(a > a[:, :, :1] - 1e-3, a, -torch.inf).log_softmax(1), 2)],
    "all masked": lambda a: [aten._safe_softmax(torch.where(a > 0.5, a, -torch.inf), 2)],
    "old norm": lambda a: [aten.norm.ScalarOpt_dim(a, 2, [1]), aten.norm.Scalar(a, 2)],
}
PRODUCTS = slopes(
    {
        "mm": lambda a, b: a @ b,
        "mm turned": lambda a, b: b.T @ a.T,
        "mm of itself": lambda a, b: a @ a.T,
        "mm strided": lambda a, b: a[:, ::2] @ b[::2],
        "mm of one row": lambda a, b: a[:1] @ b,
        "mm of one column": lambda a, b: a @ b[:, :1],
        "mm expanded": lambda a, b: a[:1].expand(12, -1) @ b[:, :1].expand(-1, 15),
        "mm inside": lambda a, b: a[:, :1] @ b[:1],
        "addmm": lambda a, b: torch.addmm(b[0], a, b, beta=0.5, alpha=2.0),
        "addmm plain": lambda a, b: F.linear(a, b.T, b[0]),
        "bmm": lambda a, b: torch.bmm(a.reshape(3, 4, -1), b.reshape(3, -1, 5)[:, : a.shape[1]]),
        "bmm expanded": lambda a, b: a.expand(3, -1, -1) @ b.expand(3, -1, -1),
        "bmm of turned": lambda a, b: a.reshape(3, 4, -1).transpose(1, 2) @ a.reshape(3, 4, -1),
        "bmm across": lambda a, b: a.reshape(4, 3, -1).transpose(0, 1) @ a.reshape(4, 3, -1).permute(1, 2, 0),
        "mv": lambda a, b: a @ b[:, 0],
        "mv expanded": lambda a, b: a @ b[:1, 0].expand(b.shape[0]),
        "vm": lambda a, b: b[0, :12] @ a,
        "dot": lambda a, b: a[0] @ b[:, 1],
        "baddbmm": lambda a, b: torch.baddbmm(
            b[0, :5], a.reshape(3, 4, -1), b.reshape(3, -1, 5)[:, : a.shape[1]], beta=2, alpha=0.5
        ),
        "einsum": lambda a, b: torch.einsum("ij,jk->ki", a, b),
        "nothing inside": lambda a, b: a[:, :0] @ b[:0] + a.sum(),
    }
)
TARGETS: dict[str, Function] = {
    "into every other column": lambda a, b: [torch.mm(a, b, out=torch.empty(a.shape[0], 2 * b.shape[1])[:, ::2])],
    "turned": lambda a, b: [torch.mm(a, b, out=torch.empty(b.shape[1], a.shape[0]).T)],
    "added in place": lambda a, b: [torch.zeros(a.shape[0], b.shape[1]).addmm_(a, b), (a @ b).addmm_(a, b, beta=0.5)],
    "added to what is no number": lambda a, b: [torch.baddbmm(torch.full((1, 1, 1), nan), a[None], b[None], beta=0)],
    "whole numbers": lambda a, b: [(a * 9).long() @ (b * 9).long()],
}
LOOKED_UP = slopes(
    {
        "embedding": lambda a, i, j: F.embedding(i, a),
        "embedding with padding": lambda a, i, j: F.embedding(i, a, padding_idx=1).exp(),
        "index_select": lambda a, i, j: a.index_select(0, i[0]) * a.index_select(1, j[1]).sum(),
        "gather": lambda a, i, j: a.gather(1, j[:, :3]),
        "gather 0": lambda a, i, j: a.gather(0, i[:, :4]),
        "indexed": lambda a, i, j: a[i],
        "indexed twice": lambda a, i, j: a[i, j],
        "from behind": lambda a, i, j: a[-1 - i] + a[i, -1 - j][..., None],
        "broadcast index": lambda a, i, j: a[i[:1], j[:, :1]],
        "scatter_add": lambda a, i, j: torch.zeros(5, 4, dtype=a.dtype).scatter_add(0, i[:, :4], a[:2]),
        "scatter_add again": lambda a, i, j: a.scatter_add(1, j[:, :4], a[:2].exp()),
        "index_put": lambda a, i, j: torch.zeros(5, 4, dtype=a.dtype).index_put((i[0],), a[:6], accumulate=True),
        "index_put of one": lambda a, i, j: (a * 2).index_put_((i[0], j[1]), a[0, 0], accumulate=True),
        "nll": lambda a, i, j: F.nll_loss(a.log_softmax(1), j.flatten()[:6], reduction="none"),
    }
)
PUT: dict[str, Function] = {
    "scatter a number": lambda a, i, j: [torch.zeros(5, 4).scatter_(0, i[:1, :4], 2.0)],
    "scatter": lambda a, i, j: [a.scatter(1, j[:, :1], a * 2), a.scatter(0, i[:1, :4], a.exp())],
    "one after another": lambda a, i, j: [a.index_put_((torch.tensor([3, 1]),), a[:1] * 3), a[1:4].mul_(2)],
    "by its own names": lambda a, i, j: [aten._index_put_impl_(a.clone(), [i[0]], a), aten._unsafe_index_put(a, [i[0]], a, True)],
    "index_add": lambda a, i, j: [
        torch.zeros(5, 4).index_add(0, i[0], a),
        a.index_add(1, j[0], i.T[:6].float() @ j.float(), alpha=0.5),
    ],
    "a computed place": lambda a, i, j: [a[(a[:, 0].abs().log1p().clamp(max=1) * 3).long()], a.index_select(0, i[0] - j[0] + 2)],
}


def test_every_operation_is_tried() -> None:
    a, b, z = draw(3, 4), draw(12, 20), torch.view_as_complex(draw(3, 4, 2))
    tried = named(FILLED, [a]) | named(MOVED | FOLDED | CHOSEN, [draw(3, 4, 2)]) | named(PRODUCTS | TARGETS, [b, draw(20, 15)])
    tried |= named(LOOKED_UP | PUT, looked_up()) | named(COMPLEX, [z, z]) | named(LAYERS, [draw(4, 6, 3), draw(6), draw(6)])
    tried |= named(CLASSES, [draw(4, 3, 2), whole(4, 2, below=3)])
    tried |= named(POOLED, [draw(2, 3, 4, 4)])
    assert not set(MEANINGS) - tried


def test_filling_and_copying_is_pytorchs() -> None:
    agree(FILLED, [draw(3, 4)], [draw(3, 4, seed=1)])


def test_moving_is_pytorchs() -> None:
    agree(MOVED, [draw(3, 4, 2)], [draw(3, 4, 2, seed=1)])


def test_folds_are_pytorchs() -> None:
    agree(FOLDED, [draw(3, 4, 6)], [draw(3, 4, 6, seed=1)])


@pytest.mark.parametrize("lie", ["turned", "expanded"])
def test_folds_are_pytorchs_however_tensors_lie(lie: str) -> None:
    def laid(t: Tensor) -> Tensor:
        return {"turned": t.permute(1, 2, 0)[1:, ::2], "expanded": t[:, :1, :5].expand(-1, 3, -1)}[lie]

    agree(FOLDED, *([laid(draw(3, 4, 6, seed=k, dtype=torch.float64))] for k in range(2)))


def test_choices_are_pytorchs_also_where_something_is_no_number() -> None:
    odd = draw(3, 4, 2, seed=1)
    odd[1, 2, 0] = odd[0] = nan
    plain = {name: f for name, f in CHOSEN.items() if name not in ("whole numbers", "whole sums")}
    agree(CHOSEN, [draw(3, 4, 2)], [draw(3, 4, 2, seed=2)])
    agree(plain, [draw(3, 4, 2)], [odd])


def test_folds_of_what_is_no_number_are_pytorchs() -> None:
    odd = draw(3, 4, 6, seed=1)
    odd[0, 1, 2], odd[1, 0, 3], odd[2] = nan, torch.inf, -torch.inf
    kept = {n: lambda a, f=f: f(a)[:1] for n, f in FOLDED.items() if n not in ("var_mean", "std_mean")}  # theirs is by Welford
    agree(kept, [draw(3, 4, 6)], [odd])


@pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0")
def test_folds_of_nothing_and_of_one_are_pytorchs() -> None:
    few: dict[str, Function] = {
        "nothing": lambda a: [a[:0].sum(0), a[:0].mean(0), a[:0].mean(), a[:, :0].sum(1), a[:0].exp().sum(), a[:0].norm()],
        "spread of nothing": lambda a: [a[:0].var(0), a[:0].std()],
        "spread of one": lambda a: [
            a[:1].var(0),
            a[:1].std(0),
            a[:1, :1].var(),
            a[:1].var(0, unbiased=False),
            a[:2].var(0, correction=3),
        ],
        "no dimensions": lambda a: [a[0, 0].sum(), a[0, 0].mean(), a[0, 0].softmax(0), a[0, 0].amax()],
    }
    agree(few, [draw(3, 4)], [draw(3, 4, seed=1)])


@pytest.mark.parametrize(("dtype", "inner"), [(torch.float32, 40), (torch.float64, 6)])
def test_products_are_pytorchs(dtype: torch.dtype, inner: int) -> None:
    a, b, c, d = (draw(*shape, seed=k, dtype=dtype) for k, shape in enumerate(((12, inner), (inner, 15)) * 2))
    agree(PRODUCTS, [a, b], [c, d], tolerance=2e-5 if dtype is torch.float32 else 0.0)


@pytest.mark.parametrize("size", [24, 3])
def test_products_go_where_they_are_sent(size: int) -> None:
    a, b, c, d = (draw(size, size, seed=k) for k in range(4))
    agree(TARGETS, [a, b], [c, d], tolerance=2e-5)


def looked_up(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [draw(6, 4, seed=seed, dtype=dtype), whole(2, 6, below=5, seed=seed), whole(2, 6, below=4, seed=seed + 1)]


def test_looking_up_is_pytorchs() -> None:
    agree(LOOKED_UP, looked_up(0, torch.float64), looked_up(5, torch.float64))


def test_putting_in_place_is_pytorchs() -> None:
    first = [draw(6, 4), whole(2, 6, below=3), whole(2, 6, below=3, seed=1)]
    agree(PUT, first, [draw(6, 4, seed=1), *first[1:]])


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_numbers_of_rows_may_be_of_any_kind(kind: torch.dtype) -> None:
    a, i, j = looked_up()
    agree({"rows": lambda a, i: [a[i[0]], F.embedding(i, a)]}, [a, i.to(kind)], [a, j.to(kind)])


@pytest.mark.parametrize("bad", [6, -7, 1 << 40, -(1 << 40)])
def test_an_index_outside_is_no_number_and_no_fault(bad: int) -> None:
    """PyTorch raises; a program cannot, so its step ends as one that is not finite."""
    functions: dict[str, Callable[[Tensor, Tensor], list[Tensor]]] = {
        "embedding": lambda a, i: [F.embedding(i, a)],
        "rows": lambda a, i: [a[i]],
        "index_select": lambda a, i: [a.index_select(0, i)],
        "gather": lambda a, i: [a.gather(0, i[:, None])],
        "nll": lambda a, i: [F.nll_loss(a.T.log_softmax(1)[: len(i)], i, reduction="none")],
        "embedding's slope": lambda a, i: [aten.embedding_dense_backward(a[: len(i)], i, 6, -1, False)],
        "scatter_add": lambda a, i: [torch.zeros(6, 4).scatter_add_(0, i[:, None], a)],
        "index_put": lambda a, i: [torch.zeros(6, 4).index_put_((i,), a[: len(i)])],
    }
    a, good = draw(6, 4), torch.tensor([5, 0, 3])
    for name, function in functions.items():
        program = Ran(function, [twin(a, a), good.clone()])
        assert torch.isfinite(program(a, good)[0]).all()
        assert torch.isnan(program(a, torch.tensor([5, bad, 3]))[0]).any(), name


def of_classes(how: str, weight: Tensor | None, ignore: int, smooth: float) -> Function:
    def loss(a: Tensor, y: Tensor) -> Tensor:
        own = None if weight is None else weight.to(a.dtype)
        return F.cross_entropy(a, y, own, ignore_index=ignore, reduction=how, label_smoothing=smooth)

    return differentiated(loss)


WEIGHT = torch.tensor([0.5, 2.0, 1.5])
CLASSES = {
    "each": of_classes("none", None, -100, 0.0),
    "each weighted": of_classes("none", WEIGHT, -100, 0.0),
    "each but one": of_classes("none", WEIGHT, 1, 0.1),
    "mean": of_classes("mean", None, -100, 0.1),
    "mean weighted": of_classes("mean", WEIGHT, -100, 0.0),
    "mean but one": of_classes("mean", WEIGHT, 1, 0.0),
    "sum": of_classes("sum", WEIGHT, 2, 0.0),
}


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3,), torch.float32), ((7, 3), torch.float64), ((4, 3, 5), torch.float32), ((2, 3, 4, 5), torch.float32)],
)
def test_losses_of_classes_are_pytorchs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    over = shape[:1] + shape[2:] if len(shape) > 1 else ()
    given, other = ([draw(*shape, seed=k, dtype=dtype), whole(*over, below=3, seed=k)] for k in range(2))
    masked = [other[0], torch.where(whole(*over, below=2, seed=5) > 0, other[1], -100)]
    ignoring = {name: CLASSES[name] for name in ("each", "each weighted", "mean", "mean weighted")}
    agree(CLASSES, given, other)
    agree(ignoring, given, masked)


def statistics(w: Tensor) -> tuple[Tensor, Tensor]:
    return w.detach().clone(), w.detach().exp()


LAYERS = slopes(
    {
        "layer_norm": lambda x, w, b: F.layer_norm(x.transpose(1, 2), (6,), w, b),
        "layer_norm plain": lambda x, w, b: F.layer_norm(x, x.shape[1:]) * w[:, None],
        "layer_norm of all": lambda x, w, b: F.layer_norm(x[0], (6, 3), w[:, None].expand(6, 3), None),
        "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        "batch_norm plain": lambda x, w, b: F.batch_norm(x[:, :, 0], None, None, None, None, True, eps=0.1),
        "batch_norm running": lambda x, w, b: F.batch_norm(x, w.detach(), b.detach().exp_(), w, b, True, momentum=0.3),
        "batch_norm by its own name": lambda x, w, b: aten._native_batch_norm_legit(x, w, b, *statistics(w), True, 0.1, 1e-5)[0],
        "attention": lambda x, w, b: F.scaled_dot_product_attention(x[None], x[None] * w[:, None], x[None]),
        "causal attention": lambda x, w, b: F.scaled_dot_product_attention(x[None], x[None] + b[:, None], x[None], is_causal=True),
        "prelu": lambda x, w, b: F.relu(x) - w[:, None] * F.relu(-x),
        "glu": lambda x, w, b: x[:, :3] * torch.sigmoid(x[:, 3:]) * w[:3, None],
    }
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_are_pytorchs(dtype: torch.dtype) -> None:
    given, other = ([draw(*shape, seed=k, dtype=dtype) for shape in ((4, 6, 3), (6,), (6,))] for k in range(2))
    agree(LAYERS, given, other, tolerance=1e-5 if dtype is torch.float32 else 1e-12)


POOLED = slopes(
    {
        "2": lambda x: F.max_pool2d(x, 2),
        "3 and 2": lambda x: F.max_pool2d(x, (3, 2)),
        "of three dimensions": lambda x: F.max_pool2d(x[0], 2).sigmoid(),
        "turned": lambda x: F.max_pool2d(x.transpose(2, 3), 2),
    }
)
OVERLAPPING: dict[str, Function] = {"overlapping": lambda x: [F.max_pool2d(x, 3, 1), F.max_pool2d(x, 2, 3)]}


def test_pooling_is_pytorchs() -> None:
    odd = draw(2, 3, 7, 6, seed=2)
    odd[0, 1, 2], odd[1, :, 3, 3:5], odd[1, 2, 0, 1] = 1.0, torch.inf, nan
    agree(POOLED, [draw(2, 3, 7, 6)], [draw(2, 3, 7, 6, seed=1)], [odd])
    agree(OVERLAPPING, [draw(2, 3, 7, 6)], [odd])


COMPLEX = slopes(
    {
        "add": lambda z, w: z + w * 2 - 1,
        "mul": lambda z, w: z * w,
        "mul by a real": lambda z, w: z * w.real,
        "mul by i": lambda z, w: z * 1j + (0.5 - 2j),
        "div": lambda z, w: z / w,
        "div by a real": lambda z, w: z / (w.real.abs() + 1),
        "conj": lambda z, w: z.conj() * w,
        "conj of conj": lambda z, w: (z.conj() * w).conj() + w,
        "real and imaginary": lambda z, w: z.real * w.imag - z.imag,
        "abs": lambda z, w: z.abs(),
        "abs of tiny": lambda z, w: (z * 1e-20).abs() * 1e20 + w.abs(),
        "exp": lambda z, w: torch.exp(z),
        "neg": lambda z, w: -z.T,
        "square": lambda z, w: z**2,
        "view_as_real": lambda z, w: torch.view_as_real(z * w)[..., 1].exp(),
        "complex": lambda z, w: torch.complex(z.real.sin(), w.imag),
        "polar": lambda z, w: torch.polar(z.real.abs() + 0.1, w.imag),
        "sum": lambda z, w: (z * w).sum(0),
        "mm": lambda z, w: z @ w.T,
        "mm of conj": lambda z, w: z @ w.mH,
        "bmm": lambda z, w: z[None] @ w.T[None].conj(),
        "probabilities": lambda z, w: (z.conj() * z).real.sum(),
        "stack": lambda z, w: torch.stack([z, w.flip(0)], 1),
        "sliced": lambda z, w: z[1:, ::2] * w[:-1, ::2],
        "to complex": lambda z, w: z.real.to(z.dtype) * w,
        "cat": lambda z, w: torch.cat([z, w.T.reshape(z.shape)], 0),
        "mean": lambda z, w: (z * w).abs().mean(),
    }
)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_pytorchs(dtype: torch.dtype) -> None:
    part = torch.float32 if dtype is torch.complex64 else torch.float64
    a, b, c, d = (torch.view_as_complex(draw(3, 4, 2, seed=k, dtype=part)) for k in range(4))
    agree(COMPLEX, [a, b], [c, d], tolerance=1e-5 if dtype is torch.complex64 else 1e-12)


def test_complex_numbers_in_place_are_pytorchs() -> None:
    functions: dict[str, Function] = {
        "mul": lambda z: [z.mul_(z.clone()), z],
        "a part": lambda z: [z.real.add_(1), z],
        "of a conjugate": lambda z: [z.clone().conj().mul_(2j)],
        "sgn": lambda z: [z.sgn(), (z * 0).sgn(), (z * 1e25).abs()],
    }
    a, b = (torch.view_as_complex(draw(3, 4, 2, seed=k)) for k in range(2))
    agree(functions, [a], [b])


def overlapping(a: Tensor) -> Tensor:
    b = a * 2
    return b[:, 1:].add_(b[:, :-1])


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda a: a.cumsum(0), "uses cumsum"),
        (lambda a: a.round(decimals=2), "uses round in a way"),
        (lambda a: F.pad(a, (-1, 0)), "pads by less than nothing"),
        (lambda a: a[:, torch.tensor([0, 1])], "indexes with a mask or between slices"),
        (lambda a: torch.linalg.vector_norm(a, 3), "norm of order 3"),
        (lambda a: a.half(), "computes in float16"),
        (lambda a: torch.view_as_complex(a[:, :2].contiguous()).mean(), "mean of complex numbers"),
        (lambda a: torch.view_as_complex(a[:, :2].contiguous()) ** 0.5, "complex numbers to the power 0.5"),
        (lambda a: torch.view_as_complex(a[:, :2].contiguous()).sin(), "uses sin in a way"),
        (lambda a: F.batch_norm(a, a[0] * 0, a[0] * 0 + 1), "running statistics while it trains"),
        (overlapping, "where the same operation writes"),
        (lambda a: a.long().remainder(2), "uses remainder on int64"),
    ],
)
def test_what_has_no_meaning_is_said_by_name(function: Callable[[Tensor], Tensor], why: str) -> None:
    a, body = draw(3, 4), Body()
    with Recording() as recording:
        function(a)
    with pytest.raises(Unfit, match=why):
        all(express(body, op) is None for op in recording.ops if not op.call.is_view)
