"""An export is the model: its numbers are the model's where gradlearn is not there, and what does not agree gets no name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradlearn
from gradlearn import picture_plan
from gradlearn.cli import run
from gradlearn.connect import onnx as writer
from gradlearn.errors import InputTrouble, NumericsTrouble
from gradlearn.exports import FILES, to_onnx, to_torch
from gradlearn.loaded import load
from gradlearn.record.weights import read_weights

ALONE = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits that also looks at mirror images and moved ones, so that there is something to average."""
    runs = tmp_path_factory.mktemp("runs")
    words = ["--steps", "20", "--convnet.width", "8", "--threads", "1", "--mirror", "yes", "--shift", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_plan, "LOOKED", 0)
        assert run(["train", "images", *words, "--runs", str(runs), "--name", "mine"]) == 0
    assert load(runs / "mine").card["shift_score"] == 1
    return runs / "mine"


@pytest.fixture(scope="module")
def onnx_file(trained: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    assert run(["export", str(trained), "--to", "onnx"]) == 0
    return trained / "export" / "mine.onnx"


@pytest.fixture(scope="module")
def torch_folder(trained: Path) -> Path:
    assert run(["export", str(trained), "--to", "torch"]) == 0
    return trained / "export" / "torch"


def pictures(trained: Path) -> torch.Tensor:
    return read_weights(trained / "model" / "examples.safetensors")["x"]


def code(card: Path) -> str:
    """The Python of a model card."""
    found = re.search(r"^```python\n(.*?)^```$", card.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def play(script: str, folder: Path) -> str:
    """What a fresh Python prints that has no gradlearn."""
    script = f"import sys\nsys.modules['gradlearn'] = None\nsys.path.insert(0, '')\n{script}"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=ALONE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def picture(trained: Path, folder: Path) -> np.ndarray:
    """One of the examples as picture.png in this folder; its probabilities by gradlearn."""
    from PIL import Image

    x = pictures(trained)[3:4]
    Image.fromarray(x[0, 0].numpy()).save(folder / "picture.png")
    return load(trained).predict(x.permute(0, 2, 3, 1))[0].numpy()


def test_the_examples_are_pictures_of_validation(trained: Path):
    from gradlearn.data.images import read

    digits = read(None, seed=0)
    valid = {np.asarray(digits.pixels)[i].tobytes() for i in digits.split["valid"]}
    x = pictures(trained)
    assert x.shape == (32, 1, 8, 8)
    assert {row.permute(1, 2, 0).contiguous().numpy().tobytes() for row in x} <= valid


def test_onnx_gives_what_predict_gives_for_any_number_of_pictures(trained: Path, onnx_file: Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("pictures", "tensor(uint8)", ["n", 1, 8, 8])]
    assert [o.name for o in session.get_outputs()] == ["probabilities", "logits"]
    for n in (1, 2, 32):
        x = pictures(trained)[:n]
        p, logits = session.run(None, {"pictures": x.numpy()})
        model = load(trained)
        np.testing.assert_allclose(p, model.predict(x.permute(0, 2, 3, 1)), atol=1e-4)
        with torch.no_grad():
            np.testing.assert_allclose(logits, model.model(x), rtol=1e-4, atol=1e-4)


def test_the_metadata_say_what_goes_in_and_what_comes_out(trained: Path, onnx_file: Path):
    import onnxruntime

    told = onnxruntime.InferenceSession(onnx_file).get_modelmeta().custom_metadata_map
    told = {key: json.loads(value) for key, value in told.items()}
    assert told["classes"] == [str(k) for k in range(10)]
    assert told["input"] == {"name": "pictures", "type": "uint8", "shape": ["n", 1, 8, 8], "range": [0, 255]}
    assert [row["step"] for row in told["preprocessing"]] == ["decode", "turn", "flatten", "resize", "channels", "layout"]
    assert "mirror image" in told["outputs"]["probabilities"]
    assert told["made_by"] == f"gradlearn {gradlearn.__version__}"


def test_the_code_of_the_onnx_card_runs_without_gradlearn(trained: Path, onnx_file: Path):
    p = picture(trained, onnx_file.parent)
    card = onnx_file.with_suffix(".md")
    assert "torch" not in code(card)
    name, probability = play(code(card), onnx_file.parent).split()
    assert name == str(p.argmax())
    assert float(probability) == pytest.approx(float(p.max()), abs=1e-4)


def test_the_folder_of_plain_pytorch_is_the_model_to_1e_6_without_gradlearn(trained: Path, torch_folder: Path):
    assert sorted(os.listdir(torch_folder)) == ["README.md", "card.json", "model.py", "model.safetensors"]
    assert "import gradlearn" not in (torch_folder / "model.py").read_text()
    p = picture(trained, torch_folder)
    printed = play(code(torch_folder / "README.md"), torch_folder).split()
    os.unlink(torch_folder / "picture.png")
    assert printed[0] == str(p.argmax())
    assert float(printed[1]) == pytest.approx(float(p.max()), abs=1e-6)


def test_a_second_export_takes_the_place_of_the_first_and_of_nothing_else(torch_folder: Path, trained: Path, tmp_path: Path):
    before = (torch_folder / "model.py").read_bytes()
    (torch_folder / "model.py").write_text("broken")
    to_torch(trained)
    assert (torch_folder / "model.py").read_bytes() == before
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputTrouble, match="is there already, and no export; give another --out"):
        to_torch(trained, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_the_same_run_gives_the_same_bytes(trained: Path, onnx_file: Path, tmp_path: Path):
    to_onnx(trained, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == onnx_file.read_bytes()


@pytest.mark.parametrize("opset", [11, 20])
def test_every_opset_and_a_fixed_number_of_pictures(trained: Path, onnx_file: Path, tmp_path: Path, opset: int):
    import onnx

    done = to_onnx(trained, tmp_path / "few.onnx", opset=opset, batch=3)
    assert done["difference"] <= 1e-4
    model = onnx.load(tmp_path / "few.onnx")
    assert model.opset_import[0].version == opset
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [3, 1, 8, 8]


def test_what_does_not_agree_is_refused_and_leaves_nothing(trained: Path, onnx_file: Path, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(writer, "disagreement", lambda *_: 0.25)
    with pytest.raises(
        NumericsTrouble, match=r"x\.onnx: ONNX Runtime and the model differ by 0\.25 on 32 examples, more than 0\.0001"
    ):
        to_onnx(trained, tmp_path / "x.onnx")
    assert os.listdir(tmp_path) == []


def test_a_difference_in_one_weight_is_seen(trained: Path, onnx_file: Path):
    from gradlearn.classified import Answers

    loaded = load(trained)
    module, x = Answers(loaded.model, True, 1).eval(), pictures(trained)
    data = onnx_file.read_bytes()
    assert writer.disagreement(data, module, x) < 1e-5
    with torch.no_grad():
        loaded.model.head.bias[2] += 0.01  # pyright: ignore
    assert writer.disagreement(data, module, x) > 1e-3


def test_a_damaged_folder_is_refused_before_it_gets_its_name(trained: Path, tmp_path: Path, monkeypatch: Any):
    from gradlearn.connect import source

    monkeypatch.setattr(source, "TAIL", source.TAIL.replace("network.load_state_dict(", "len("))
    with pytest.raises(NumericsTrouble, match="the file by itself and the model differ by"):
        to_torch(trained, tmp_path / "out")
    monkeypatch.setattr(source, "TAIL", "import gradlearn\n")
    with pytest.raises(InputTrouble, match="does not load without gradlearn"):
        to_torch(trained, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_missing_extra_is_one_line_with_its_command(trained: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["export", str(trained), "--to", "onnx"]) == 2
    line = "gradlearn: error: export --to onnx needs 'onnxruntime'; install it with: pip install 'gradlearn[onnx]'\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--to", "onnx", "--opset", "3"], "--opset 3: must be 11 to 20"),
        (["--to", "torch", "--opset", "17"], "--opset and --batch are of ONNX; leave them out with --to torch"),
        (["--to", "torch", "--batch", "2"], "--opset and --batch are of ONNX; leave them out with --to torch"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(trained: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert run(["export", str(trained), *words]) == 2
    assert capsys.readouterr().err == f"gradlearn: error: {line}\n"


def test_the_command_says_where_and_how_near(trained: Path, onnx_file: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["export", str(trained), "--to", "onnx", "--json"]) == 0
    out, err = capsys.readouterr()
    done = json.loads(out)
    assert (done["file"], done["card"], done["checked"]) == (str(onnx_file), str(onnx_file.with_suffix(".md")), 32)
    assert 0.0 <= done["difference"] <= 1e-4
    assert err == ""


def test_a_run_of_fit_says_how_it_can_be_exported(tmp_path: Path):
    x = torch.randn(60, 3)
    gradlearn.fit(nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), steps=5, run=tmp_path / "fit")
    with pytest.raises(InputTrouble, match="does not say how its module is made"):
        to_onnx(tmp_path / "fit")


def test_a_module_of_ones_own_is_exported_from_python_as_it_is(tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    import onnxruntime

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    x = torch.randn(9, 4)
    done = gradlearn.export(model, tmp_path / "m.onnx", x, name="table", outputs=("score",), about={"who": ["me"]})
    assert done["checked"] == 9
    assert all(m.training for m in model.modules()), "modes are as found"
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(["score"], {"table": x.numpy()})
    np.testing.assert_allclose(found, model.eval()(x).detach(), rtol=1e-4, atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["who"]) == ["me"]


def test_the_names_of_an_export_are_those_that_may_be_replaced(torch_folder: Path):
    assert {*os.listdir(torch_folder)} == {*FILES} - {"check.safetensors"}


def test_of_large_pictures_few_examples_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert run(["train", "images", "--steps", "1", "--threads", "1", "--runs", str(tmp_path), "--name", "all"]) == 0
    assert len(pictures(tmp_path / "all")) == 32
    monkeypatch.setattr("gradlearn.exports.MOST", 5 * 64)  # bytes: five pictures of 8 x 8
    assert run(["train", "images", "--steps", "1", "--threads", "1", "--runs", str(tmp_path), "--name", "some"]) == 0
    assert len(pictures(tmp_path / "some")) == 5
