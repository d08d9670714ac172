from __future__ import annotations

import errno
import json
import os
import re
import shutil

import pytest
import safetensors.torch
import torch

from gradlearn.errors import CheckpointTrouble, InputTrouble
from gradlearn.record import disk, strict, weights

from .faults import outcome

CARD = {"task": "images", "classes": ["cat", "dög"], "mean": [0.1 + 0.2], "ties": {"head.weight": "embed.weight"}, "none": None}


def group(seed=0.0):
    return {"fc.weight": torch.arange(12.0).view(3, 4) + seed, "fc.bias": torch.zeros(3), "count": torch.tensor(3)}


def equal(one, two):
    return set(one) == set(two) and all(torch.equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)


def test_a_model_comes_back_as_it_was(tmp_path):
    assert weights.write_model(tmp_path, group(), CARD) == tmp_path / "model"
    tensors, card = weights.read_model(tmp_path)
    assert equal(tensors, group())
    assert card == CARD
    assert sorted(os.listdir(tmp_path)) == ["model"]
    assert sorted(os.listdir(tmp_path / "model")) == ["card.json", "weights.safetensors"]
    assert equal(safetensors.torch.load_file(tmp_path / "model/weights.safetensors"), group())  # and by anybody else
    assert equal(weights.read_weights(tmp_path / "model/weights.safetensors"), group())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name, tensors, card in (("a", group(), CARD), ("b", dict(reversed(group().items())), dict(reversed(CARD.items())))):
        (tmp_path / name).mkdir()
        weights.write_model(tmp_path / name, tensors, card)
    for name in ("card.json", "weights.safetensors"):
        assert (tmp_path / "a/model" / name).read_bytes() == (tmp_path / "b/model" / name).read_bytes()


def test_our_own_keys_are_ours(tmp_path):
    for key in ("format", "weights", "sha256_of_rest"):
        with pytest.raises(ValueError, match="is written by us"):
            weights.write_model(tmp_path, group(), {key: 1})
    with pytest.raises(ValueError, match="not finite"):
        weights.write_model(tmp_path, group(), {"x": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "short", "crash"])
def test_replacing_a_model_never_loses_it(tmp_path, faulty, fault, forever):
    faulty()
    weights.write_model(tmp_path, group(1.0), CARD | {"version": 1})
    k, done = 0, False
    while not done:
        k += 1
        folder = tmp_path / f"run{k}"
        folder.mkdir()
        shutil.copytree(tmp_path / "model", folder / "model")
        tool = faulty(k, fault, forever)
        said = outcome(lambda folder=folder: weights.write_model(folder, group(2.0), CARD | {"version": 2}))
        done = tool.count < k
        faulty()
        assert re.fullmatch(rf"(5 {folder}: write failed: .* \(model\); .*|crash)?", said)
        assert forever or said in ("", "crash")
        tensors, card = weights.read_model(folder)
        assert card["version"] >= (1 if said else 2)
        assert equal(tensors, group(float(card["version"])))
        weights.write_model(folder, group(3.0), CARD)
        disk.sweep(folder)
        assert os.listdir(folder) == ["model"]
    assert k > 15


def test_every_corruption_is_noticed(tmp_path):
    weights.write_model(tmp_path, group(), CARD)
    for path in sorted((tmp_path / "model").iterdir()):
        data = path.read_bytes()
        for at in range(len(data)):
            for other in (data[:at], data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]):
                path.write_bytes(other)
                with pytest.raises(CheckpointTrouble) as caught:
                    weights.read_model(tmp_path)
                assert re.fullmatch(rf"{tmp_path}/model: .+; .+", str(caught.value))
        path.write_bytes(data)
    assert weights.read_model(tmp_path)[1] == CARD


def test_a_part_of_a_model_is_no_model(tmp_path):
    with pytest.raises(CheckpointTrouble, match=rf"no model yet; let the run end first: gradlearn resume {tmp_path}$"):
        weights.read_model(tmp_path)
    weights.write_model(tmp_path, group(), CARD)
    (tmp_path / "model/card.json").rename(tmp_path / "card.json")
    with pytest.raises(CheckpointTrouble, match=r"card\.json cannot be read \(No such file or directory\); write it again"):
        weights.read_model(tmp_path)
    (tmp_path / "card.json").rename(tmp_path / "model/card.json")
    (tmp_path / "model/weights.safetensors").unlink()
    with pytest.raises(CheckpointTrouble, match=r"weights\.safetensors cannot be read"):
        weights.read_model(tmp_path)


def test_a_newer_model_is_refused(tmp_path):
    path = weights.write_model(tmp_path, group(), CARD) / "card.json"
    card = strict.opened(json.loads(path.read_text()))
    path.write_bytes(strict.document(strict.sealed(card | {"format": 3}), indent=1))
    with pytest.raises(CheckpointTrouble, match=r"model: format 3 is newer than this program \(1\); upgrade it"):
        weights.read_model(tmp_path)


# ---- weights from anywhere


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.CKPT", "w.bin", "w.pkl", "w.h5", "w.keras"])
def test_pickles_are_refused_unopened(tmp_path, name):
    line = f"{tmp_path}/{name}: pickle-based weights are not loaded; convert them to safetensors in the program that made them"
    with pytest.raises(InputTrouble, match=f"^{re.escape(line)}$"):
        weights.read_weights(tmp_path / name)  # it does not even exist


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\x04\x95", "starts like a pickle, not safetensors; refused"),
        (b"PK\x03\x04rest", "pickle-based weights are not loaded; convert them"),
        ((4294967296).to_bytes(8, "little") + b"{}" * 256, "header declares 4294967296 bytes, file has 520; damaged or hostile"),
        (b"", "0 bytes are too few for a header; truncated"),
    ],
)
def test_what_is_no_safetensors_is_one_line(tmp_path, data, says):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputTrouble, match=f"^{re.escape(f'{path}: {says}')}") as caught:
        weights.read_weights(path)
    assert caught.value.code == 2
    (tmp_path / "model").mkdir()
    weights.write_model(tmp_path, group(), CARD)
    (tmp_path / "model/weights.safetensors").write_bytes(data)
    with pytest.raises(CheckpointTrouble, match=re.escape(says)):
        weights.read_model(tmp_path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputTrouble, match=r"w\.safetensors: cannot be read \(No such file or directory\)"):
        weights.read_weights(tmp_path / "w.safetensors")


def test_a_file_of_another_program_is_read(tmp_path):
    safetensors.torch.save_file(group(), tmp_path / "w.safetensors")
    assert equal(weights.read_weights(tmp_path / "w.safetensors"), group())
