"""Second and forward derivatives against closed forms and dense Hessians, through every layer that refuses one of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.curvature.derivatives import ByValues, Hessian, derivatives_of, plain, slope, value_and_grad
from gradlearn.curvature.landscape import LossFunction
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Losses


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def point(n: int) -> Tensor:
    return torch.linspace(-1.2, 1.1, n, dtype=torch.float64)


class Of:
    data = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Batch) -> Losses:
        return Losses(self.model(batch.x).flatten(1).square().sum(1), torch.ones(batch.n))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.mixer = kind(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(x)[0]


LAYERS = {
    "attention": Attention,
    "GRU": lambda: Recurrent(nn.GRU),
    "LSTM": lambda: Recurrent(nn.LSTM),
    "RNN": lambda: Recurrent(nn.RNN),
    "BatchNorm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 3), nn.BatchNorm1d(3), nn.Tanh()),
    "convolution": lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.GELU(), nn.Conv1d(3, 2, 1)),
}


def loss_with(layer: str, dtype: torch.dtype | None = torch.float64) -> tuple[LossFunction, Tensor]:
    torch.manual_seed(0)
    model = LAYERS[layer]()
    f = LossFunction(Of(model), Batch(torch.randn(5, 2, 4), None, torch.arange(5), 1), dtype)
    return f, f.start


def dense_by_differences(f: Any, x: Tensor) -> Tensor:
    h = 1e-5
    rows = [(value_and_grad(f, x + h * e)[1] - value_and_grad(f, x - h * e)[1]) / (2 * h) for e in torch.eye(len(x)).to(x)]
    return torch.stack(rows)


def test_products_and_the_dense_hessian_are_the_true_ones():
    x = point(80)  # enough for many products at once
    true = torch.autograd.functional.hessian(rosenbrock, x)
    H = Hessian(rosenbrock, x)
    assert H.way == "double backward"
    assert H.note == ""
    v = torch.cos(torch.arange(80.0)).double()
    assert torch.allclose(H(v), true @ v, rtol=1e-12)
    assert torch.allclose(H.dense(), true, rtol=1e-12, atol=1e-9)
    assert H.products == 81
    assert torch.allclose(H.grad, torch.autograd.functional.jacobian(rosenbrock, x))


@pytest.mark.parametrize("n", [3, 70])
def test_a_linear_function_has_no_curvature(n: int):
    H = Hessian(lambda x: 3 * x.sum(), point(n))
    assert torch.equal(H.dense(), torch.zeros(n, n).double())


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_has_its_hessian(layer: str, recwarn: pytest.WarningsRecorder):
    f, x = loss_with(layer)
    H = Hessian(f, x)
    true = dense_by_differences(f, x)
    assert torch.allclose(H.dense(), true, atol=1e-6 * float(true.abs().max()))
    refused = layer == "attention"
    assert H.way == ("double backward, plain kernels" if refused else "double backward")
    assert bool(H.note) == refused
    assert not recwarn.list


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_has_its_slope(layer: str, recwarn: pytest.WarningsRecorder):
    f, x = loss_with(layer)
    v = torch.cos(torch.arange(len(x))).double()
    value, along, note = slope(f, x, v)
    true, grad = value_and_grad(f, x)
    assert float(value) == pytest.approx(float(true), rel=1e-12)
    assert float(along) == pytest.approx(float(grad @ v), rel=1e-9)
    assert ("plain kernels" in note) == (layer == "attention")
    assert not recwarn.list


def test_a_fused_lstm_has_its_slope():
    """In one precision it runs in a kernel without forward mode."""
    f, x = loss_with("LSTM", None)
    v = torch.cos(torch.arange(len(x)))
    _, along, note = slope(f, x, v)
    assert "forward mode with plain kernels" in note
    assert float(along) == pytest.approx(float(value_and_grad(f, x)[1] @ v), rel=1e-4)


def test_where_no_forward_mode_is_to_be_had_the_slope_is_the_gradients():
    x = point(3)
    _, along, note = slope(lambda x: Once.apply(x).sum(), x, torch.ones(3).double())
    assert "by a backward pass" in note
    assert float(along) == pytest.approx(float(x.cos().sum()))


class Hidden(torch.autograd.Function):
    """sin whose backward computes out of autograd's sight: a double backward through it is silently wrong."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad[0] * torch.from_numpy(x.detach().cos().numpy())


class Once(Hidden):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return Hidden.backward(ctx, *grad)


@pytest.mark.parametrize("layer", [Hidden, Once])
def test_a_layer_without_second_derivative_is_found_and_differences_are_taken(layer: Any):
    x = point(4)
    H = Hessian(lambda x: (layer.apply(x) ** 2).sum(), x)
    assert H.way == "differences of gradients"
    assert H.note
    assert torch.allclose(H.dense(), torch.diag(2 * (2 * x).cos()), atol=1e-7)


def test_a_curvature_of_zero_is_not_taken_for_a_hidden_one():
    assert Hessian(lambda x: (x**4).sum(), torch.zeros(3).double()).way == "double backward"
    assert Hessian(lambda x: torch.sigmoid(x).sum(), torch.full((2,), 30.0).double()).way == "double backward"


def test_kernels_are_as_before_after_plain_ones():
    before = torch.backends.mkldnn.enabled, torch.backends.cuda.flash_sdp_enabled()
    with plain():
        assert not torch.backends.mkldnn.enabled
    assert before == (torch.backends.mkldnn.enabled, torch.backends.cuda.flash_sdp_enabled())


def test_values_alone_give_gradient_and_hessian():
    x = point(5)
    seen = derivatives_of(lambda x: rosenbrock(x.detach()), x)
    assert isinstance(seen, ByValues)
    value, grad = value_and_grad(rosenbrock, x)
    assert float(seen.value) == float(value)
    assert torch.allclose(seen.grad, grad, rtol=1e-6, atol=1e-5)
    true = torch.autograd.functional.hessian(rosenbrock, x)
    assert torch.allclose(seen.dense(), true, atol=1e-4 * float(true.abs().max()))


@pytest.mark.parametrize(
    ("f", "x", "said"),
    [
        (lambda x: x, torch.ones(3), "expected one number"),
        (lambda x: 3.0, torch.ones(3), "expected one number as a tensor, got float"),
        (lambda x: torch.ones(()), torch.ones(3), "does not depend on x"),
        (lambda x: x.sum(), torch.ones(2, 2), "expected a vector"),
        (lambda x: x.sum(), torch.ones(2, dtype=torch.int64), "expected a vector of real numbers"),
    ],
)
def test_what_is_no_function_of_a_vector_is_refused(f: Any, x: Tensor, said: str):
    with pytest.raises(InputTrouble, match=said):
        Hessian(f, x)


def test_one_precision_is_kept():
    H = Hessian(lambda x: (x**3).sum(), torch.ones(3))
    assert H(torch.ones(3)).dtype == torch.float32
    assert torch.allclose(H(torch.ones(3)), torch.full((3,), 6.0))
    assert math.isclose(float(H.value), 3.0)
