"""What torch cannot say in ONNX is refused in a line; any number of inputs is any number; nothing is said on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
from gradlearn.connect import onnx  # noqa: E402


class Two(nn.Module):
    """Two outputs of one input, of which one is above 1."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 100.0 * x.float(), x.float().sum(1)


class Odd(nn.Module):
    """Something that ONNX has no word for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).real


def test_two_outputs_have_their_names_and_sizes(capfd: pytest.CaptureFixture[str]):
    x = torch.arange(15, dtype=torch.uint8).view(5, 3)
    data = onnx.write(Two(), x, "rows", ("hundred", "sum"), {"a": [1, "é"]})
    session: Any = onnxruntime.InferenceSession(data)
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("hundred", ["n", 3]), ("sum", ["n"])]
    assert json.loads(session.get_modelmeta().custom_metadata_map["a"]) == [1, "é"]
    assert onnx.disagreement(data, Two(), x) == 0.0
    assert capfd.readouterr() == ("", "")


def test_a_difference_is_relative_where_an_output_is_above_one():
    x = torch.tensor([[10, 0, 0]], dtype=torch.uint8)
    data = onnx.write(Two(), x, "rows", ("hundred", "sum"), {})

    class Off(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return 100.0 * x.float() + 1.0, x.float().sum(1)

    assert onnx.disagreement(data, Off(), x) == pytest.approx(1.0), "where the output is 0 or 1"

    class Nan(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return 100.0 * x.float() + torch.nan, x.float().sum(1)

    assert onnx.disagreement(data, Nan(), x) == torch.inf


def test_what_onnx_has_no_word_for_is_refused():
    with pytest.raises(InputTrouble, match=r"^export: torch cannot write this model as ONNX \(.+\); try another --opset$"):
        onnx.write(Odd(), torch.eye(3).expand(2, 3, 3), "x", ("y",), {})
