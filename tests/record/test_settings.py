from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gradlearn.errors import CheckpointTrouble, InputTrouble
from gradlearn.record import settings

from .faults import outcome

RUN = {
    "program": "gradlearn 0.1.0",
    "task": "images",
    "data": {"source": "data/été \x1b[31m\n\"x\"", "classes": ["cat", "dog"], "shape": [8, 8, 1], "train": 1437},
    "machine": {"python": "3.11.7", "threads": 2},
    "choice": {
        "lr": {"value": 0.1 + 0.2, "by": "measured", "why": "probe"},
        "seed": {"value": 2**63 - 1, "by": "user", "why": ""},
        "act": {"value": True, "by": "plan", "why": ""},
        "update.betas": {"value": [0.9, 0.999], "by": "plan", "why": ""},
    },
}  # fmt: skip


def test_settings_come_back_as_they_were(tmp_path):
    settings.write(tmp_path, RUN)
    assert settings.read(tmp_path) == {"format": 1} | RUN
    assert (tmp_path / "run.toml").read_text().startswith("format = 1\n")
    assert os.listdir(tmp_path) == ["run.toml"]


leaves = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)


@hypothesis_settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), leaves | st.lists(leaves, max_size=3), max_size=5))
def test_any_value_comes_back_as_it_was(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("run")
    settings.write(folder, {"choice": values})
    assert settings.read(folder)["choice"] == values


def test_values_of_other_kinds_are_made_plain(tmp_path):
    settings.write(tmp_path, {"a": np.float64(0.5), "b": np.int64(3), "c": (1, 2), "d": Path("x/y"), "e": "a\udcffb"})
    assert settings.read(tmp_path) == {"format": 1, "a": 0.5, "b": 3, "c": [1, 2], "d": "x/y", "e": "a\\udcffb"}
    with pytest.raises(ValueError, match=r"run\.toml: choice: lr: TOML has no null; leave the key out"):
        settings.write(tmp_path, {"choice": {"lr": None}})
    deep: object = 1
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(ValueError):
        settings.write(tmp_path, {"deep": deep})
    assert settings.read(tmp_path)["a"] == 0.5


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "crash"])
def test_the_old_settings_stay_until_the_new_ones_are_there(tmp_path, faulty, fault):
    settings.write(tmp_path, {"a": 1})
    for k in range(1, 12):
        faulty(k, fault)
        said = outcome(lambda: settings.write(tmp_path, {"a": 2}))
        faulty()
        assert re.fullmatch(rf"(5 {tmp_path}: write failed: [A-Za-z/ ]+ \(run\.toml\); [a-z ]+|crash)?", said)
        assert settings.read(tmp_path)["a"] in ((1, 2) if said else (2,))
        settings.write(tmp_path, {"a": 1})


def test_the_file_obeys_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        settings.write(tmp_path, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.toml").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"format = 3", r"format 3 is newer than this program \(1\); upgrade it"),
        (b"task = 'x'", "has no format; restore a copy or start anew"),
        (b"format = 'x'", "has no format; restore a copy or start anew"),
        (b"format = 1\nx", r"not valid TOML \(.* \(at .*\)\); restore a copy or start anew"),
        (b"format = 1\nformat = 1", "not valid TOML"),
        (b"format = 1\na = '\xff'", "byte 16 is not UTF-8"),
        (b"format = 1\na = " + b"[" * 40 + b"]" * 40, "deeper than 32"),
        (b"format = 1\na = " + b"[" * 100_000, "(nested deeper than 32|not valid TOML)"),
        (b"format = 1\n#" + b" " * (4 << 20), r"cannot be read \(\d+ bytes exceed 4194304\)"),
        (b"", "has no format"),
    ],
)
def test_damage_is_one_line(tmp_path, text, says):
    (tmp_path / "run.toml").write_bytes(text)
    with pytest.raises(CheckpointTrouble, match=says) as caught:
        settings.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/run.toml: ")
    assert str(caught.value).isprintable()
    assert caught.value.code == 4


def test_no_settings_is_one_line(tmp_path):
    with pytest.raises(CheckpointTrouble, match=r"run\.toml: file not found; give an existing one$"):
        settings.read(tmp_path)


def test_a_file_of_the_user_is_his_to_fix(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("lr = 0.1\n[choice.seed]\nvalue = 3\n")
    assert settings.load(path) == {"lr": 0.1, "choice": {"seed": {"value": 3}}}
    path.write_text("lr = ")
    with pytest.raises(InputTrouble, match=r"my\.toml: not valid TOML \(.*\); fix the file$"):
        settings.load(path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputTrouble, match=r"fifo: cannot be read \(not a regular file\); fix the file$"):
        settings.load(tmp_path / "fifo")


def test_the_written_file_is_toml_for_everybody(tmp_path):
    settings.write(tmp_path, RUN)
    with (tmp_path / "run.toml").open("rb") as file:
        assert tomllib.load(file)["choice"]["lr"]["value"] == 0.1 + 0.2
