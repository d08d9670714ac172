"""The check of gradients: a right model agrees, a wrong backward is found by the name of its tensor."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.gradient.forward import Forward
from gradlearn.gradient_check import check_gradient, compare, loaded, made


class Wrong(torch.autograd.Function):
    """A linear layer whose weight's gradient is short of a factor 0.99."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return grad[0] @ weight, 0.99 * grad[0].T @ x


class Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return Wrong.apply(input, self.weight) + self.bias  # type: ignore[operator]


def network(kind: type[nn.Module] = nn.Linear) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), kind(5, 5), nn.Dropout(0.2), nn.Linear(5, 3))


def data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(40, 4, generator=g), torch.arange(40) % 3


RANDOM = ("forward", "spsa", "evolution")


@pytest.mark.parametrize("second", ["finite_difference", "per_example", "accumulate", "parameter_shift", *RANDOM])
def test_estimators_of_one_gradient_agree(second: str):
    drop = second == "per_example"  # draws by example: another dropout than that of the batch
    model = network().eval() if drop else network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    told = compare(model, data(), "cross_entropy", "backprop", second, draws=60)
    assert told.ok, told
    assert [r.name for r in told.rows] == [name for name, _ in model.named_parameters()]
    assert told.draws == (60 if second in RANDOM else 1)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_first_tensor_with_a_wrong_gradient_is_named():
    told = compare(network(Linear), data(), "cross_entropy")
    assert not told.ok
    assert told.first_difference == "2.weight"
    (bad,) = [r for r in told.rows if not r.ok]
    assert bad.error == pytest.approx(0.01, rel=1e-3)


def test_a_biased_one_differs_by_its_bias():
    """Sharpness is another gradient by O(rho); with a tiny rho it is the same."""
    told = compare(network(), data(), "cross_entropy", "sharpness", "backprop")
    assert told.first_difference == "0.weight"
    assert compare(network(), data(), "cross_entropy", "sharpness", "backprop", options={"sharpness.rho": 1e-7}).ok


def test_what_a_layer_refused_is_told():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixer, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mixer(x.view(len(x), 2, 2))[0][:, -1])

    told = compare(Last(), data(), "cross_entropy", "per_example", "backprop")
    assert told.ok
    assert len(told.notes) == 1
    assert "one by one" in told.notes[0]


def test_estimators_themselves_and_ones_inside_others_are_taken():
    assert compare(network(), data(), "cross_entropy", Forward(basis=True), "backprop").draws == 1
    inner = made("sharpness", {"sharpness.inner": "finite_difference", "finite_difference.points": 4})
    assert inner.inner.points == 4  # type: ignore[attr-defined]


def test_a_regression_of_several_inputs_in_one_precision():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)

        def forward(self, x: Tensor, k: Tensor) -> Tensor:
            return self.norm(self.a(x))[torch.arange(len(k)), k]

    x = (torch.randn(20, 3), torch.arange(20) % 2)
    assert compare(Two(), (x, torch.randn(20)), nn.MSELoss()).ok


@pytest.mark.parametrize(
    ("options", "said"),
    [({"spsa.d": 1}, r"--spsa\.d: spsa has no such option"), ({"sharpness.inner": "sspsa"}, "did you mean 'spsa'")],
)
def test_unknown_names_and_options_are_refused(options: dict[str, Any], said: str):
    with pytest.raises(InputTrouble, match=said):
        compare(network(), data(), "cross_entropy", "spsa" if "spsa.d" in options else "sharpness", options=options)


MODULE = """
import torch
from torch import nn
def right():
    torch.manual_seed(0)
    return nn.Linear(3, 2), (torch.randn(9, 3), torch.arange(9) % 2), "cross_entropy"
def wrong():
    model, data, loss = right()
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    hook = model.weight.register_hook
    class Off(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w): return w.clone()
        @staticmethod
        def backward(ctx, g): return 2 * g
    forward = model.forward
    class Bad(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = model
        def forward(self, x): return x @ Off.apply(self.lin.weight).T + self.lin.bias
    return Bad(), data, loss
def other(): return 3
number = 3
"""


def arguments(spec: str, as_json: bool = False, **more: Any) -> argparse.Namespace:
    known = {"first": "backprop", "second": "finite_difference", "tol": 1e-5, "examples": 32, "draws": 50, "seed": 0}
    return argparse.Namespace(**{**known, **more, "model": spec, "json": as_json})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "models_to_check.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "models_to_check"


def test_the_command_says_it_in_lines_and_in_one_document(module: str, capsys: pytest.CaptureFixture[str]):
    assert check_gradient(arguments(f"{module}:right"), [], 0.0) == 0
    assert "backprop and finite_difference agree on all 2 tensors" in capsys.readouterr().out
    assert check_gradient(arguments(f"{module}:wrong"), [], 0.0) == 3
    out = capsys.readouterr().out
    assert "differ first in lin.weight" in out
    assert "NO  lin.weight" in out
    assert check_gradient(arguments(f"{module}:wrong", True), [], 0.0) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["first_difference"] == "lin.weight"
    assert [t["ok"] for t in told["tensors"]] == [False, True, True]
    options = ["--spsa.pairs", "3"]
    assert check_gradient(arguments(f"{module}:right", first="spsa", second="backprop"), options, 0.0) == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("models_to_check", "expected MODULE:FUNCTION"),
        ("no_such_module:f", "No module named"),
        ("models_to_check:f", "has no attribute"),
        ("models_to_check:number", "expected a function"),
        ("models_to_check:other", "must return"),
    ],
)
def test_what_is_no_model_is_refused(module: str, spec: str, said: str):
    with pytest.raises(InputTrouble, match=said):
        loaded(spec)
