"""Weights to start from: what fits is bit-equal, what does not is named, and a file that cannot be used is refused in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.models.convnet import ConvNet
from gradlearn.plan import Plan
from gradlearn.record.weights import write_model
from gradlearn.start import Start, read_start

CARD = {"task": "images", "model": "convnet", "options": {"width": 8}, "shape": [8, 8, 1], "classes": ["cat", "dog", "fox"]}


def net(classes: int = 3, width: int = 8, seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet((8, 8, 1), classes, width)


def start(**other: object) -> Start:
    model = net(seed=1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.rand_like(tensor.float()) * 9)
    return Start("w", {k: v.clone() for k, v in model.state_dict().items()}, CARD | other)


def test_what_is_taken_is_bit_equal_and_the_rest_is_as_it_was_drawn():
    model, given = net(4), start()
    drawn = {k: v.clone() for k, v in model.state_dict().items()}
    match = given.take_over(model, ("fox", "cow", "cat", "eel"))
    state = model.state_dict()
    assert set(match.taken) == {name for name in state if not name.startswith("head")}
    assert all(torch.equal(state[name], given.tensors[name]) for name in match.taken)
    for name in ("head.weight", "head.bias"):
        assert torch.equal(state[name][0], given.tensors[name][2])
        assert torch.equal(state[name][2], given.tensors[name][0])
        assert torch.equal(state[name][[1, 3]], drawn[name][[1, 3]])
    assert match.fresh == ("head.weight", "head.bias")
    assert given.told(match, ("fox", "cow", "cat", "eel")) == (
        f"from w: {len(state) - 2} of {len(state)} tensors taken over; "
        "head.weight, head.bias new, but for 2 of 4 classes that both have"
    )


def test_the_same_classes_keep_the_head_and_as_many_others_do_not():
    assert start().take_over(net(), ("cat", "dog", "fox")).fresh == ()
    model = net()
    before = model.head.weight.detach().clone()
    match = start().take_over(model, ("a", "b", "c"))
    assert match.fresh == ("head.weight", "head.bias")
    assert not match.rows
    assert torch.equal(model.head.weight, before)


def test_a_permutation_of_classes_permutes_the_head():
    model, given = net(), start()
    given.take_over(model, ("fox", "cat", "dog"))
    assert torch.equal(model.head.weight, given.tensors["head.weight"][[2, 0, 1]])


def test_a_file_without_classes_gives_no_head():
    given = Start("w", start().tensors, {})
    assert given.match(net(), ("cat", "dog", "fox")).fresh == ("head.weight", "head.bias")


def test_tensors_of_another_shape_and_those_not_used_are_named():
    given = start()
    tensors = dict(given.tensors) | {"more": torch.zeros(2), "features.1.weight": torch.zeros(5)}
    match = Start("w", tensors, CARD).match(net(), ("cat", "dog", "fox"))
    assert match.unlike == ("features.1.weight",)
    assert match.unused == ("more",)
    assert match.fresh == ("features.1.weight",)
    told = given.told(match, ("cat", "dog", "fox"))
    assert "features.1.weight new; of another shape: features.1.weight; not used: more" in told


def test_another_network_is_refused_with_the_first_tensor_that_does_not_fit():
    with pytest.raises(
        InputTrouble, match=r"^w: tensor 'features\.0\.weight' is \[8, 1, 3, 3\], model expects \[16, 1, 3, 3\]; wrong"
    ):
        start().match(net(width=16), ("cat", "dog", "fox"))
    with pytest.raises(InputTrouble, match=r"^w: missing tensor 'features\.0\.weight' \(\+\d+ more\); wrong or damaged model$"):
        Start("w", {"x": torch.zeros(1)}, {}).match(net(), ())


def test_a_model_of_one_layer_has_no_body_to_take_over():
    with pytest.raises(InputTrouble, match="missing tensor"):
        Start("w", {"other": torch.zeros(2)}, {}).match(nn.Linear(2, 2), ("a", "b"))


def test_network_and_pictures_are_as_the_weights_want_them_unless_given():
    plan, reading = Plan(), {"size": None}
    start().settle(plan, reading)
    assert (plan["model"], plan["convnet.width"], plan.choices["convnet.width"].by) == ("convnet", 8, "data")
    assert reading == {"size": [8, 8], "channels": 1}
    plan, reading = Plan({"convnet.width": 24}), {"size": 16}
    start().settle(plan, reading)
    assert (plan["convnet.width"], reading) == (24, {"size": 16})


def test_a_run_and_its_file_are_the_same_weights(tmp_path: Path):
    (tmp_path / "run.toml").write_text("format = 1")
    given = start()
    write_model(tmp_path, given.tensors, CARD)
    for path in (tmp_path, tmp_path / "model" / "weights.safetensors"):
        found = read_start(path)
        assert (found.card, found.digest) == (CARD, given.digest)
    file = tmp_path / "w.safetensors"
    safetensors.torch.save_file(dict(given.tensors), file)
    found = read_start(file)
    assert (found.card, found.digest) == ({}, given.digest)
    other = dict(given.tensors) | {"head.bias": torch.ones(3)}
    assert Start("w", other, {}).digest != given.digest


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    safetensors.torch.save_file(tensors, path)
    return path


def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path: Path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    (tmp_path / "p.safetensors").write_bytes(pickle.dumps([1, 2, 3, 4, 5, 6, 7, 8]))
    whole = save(tmp_path / "w.safetensors", {"a": torch.zeros(9)}).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes((1 << 32).to_bytes(8, "little") + whole[8:])
    save(tmp_path / "nan.safetensors", {"a": torch.tensor([1.0, float("nan")])})
    (tmp_path / "folder").mkdir()
    lines = {
        "w.pt": "pickle-based weights are not loaded; convert them to safetensors in the program that made them",
        "p.safetensors": "starts like a pickle, not safetensors; refused",
        "cut.safetensors": f"header declares {1 << 32} bytes, file has {len(whole)}; damaged or hostile",
        "nan.safetensors": "'a' holds NaN; give weights that are finite",
        "none.safetensors": "cannot be read (No such file or directory); give a safetensors file",
        "folder": "not a run folder (no run.toml); give the folder of a run",
    }
    for name, line in lines.items():
        with pytest.raises(InputTrouble) as trouble:
            read_start(tmp_path / name)
        assert str(trouble.value) == f"{tmp_path / name}: {line}"
