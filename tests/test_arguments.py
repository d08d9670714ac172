"""What a person types, as values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradlearn.arguments import batch, bytes_of, plugin_options, positive, separated, share, share_or_path, typed, whole, yes_or_no
from gradlearn.errors import InputTrouble


@pytest.mark.parametrize(("of", "text", "value"), [
    (positive, "0.5", 0.5), (positive, "1e-3", 0.001), (whole, "12", 12), (share, "1%", 0.01), (share, "0.25", 0.25),
    (share_or_path, "10%", 0.1), (share_or_path, "some/where", Path("some/where")), (bytes_of, "500MB", 500_000_000),
    (bytes_of, "2gb", 2_000_000_000), (bytes_of, "1.5KB", 1500), (bytes_of, "1000", 1000), (bytes_of, "7b", 7),
    (batch, "full", "full"),
    (batch, "auto", "auto"), (batch, "32", 32), (yes_or_no, "Yes", True), (yes_or_no, "0", False),
])  # fmt: skip
def test_text_becomes_a_value(of: Callable[[str], Any], text: str, value: Any):
    assert of(text) == value
    assert type(of(text)) is type(value)


@pytest.mark.parametrize(("of", "text"), [
    *((positive, text) for text in ("0", "-1", "nan", "inf", "x", "")),
    *((whole, text) for text in ("0", "-1", "1.5", "x", "")),
    *((share, text) for text in ("x", "%", "")),
    *((bytes_of, text) for text in ("x", "0", "-1MB", "nan", "MB", "0.1")),
    *((batch, text) for text in ("half", "0", "-3", "1.5")),
    *((yes_or_no, text) for text in ("maybe", "", "2")),
])  # fmt: skip
def test_text_that_is_no_value_is_refused(of: Callable[[str], Any], text: str):
    with pytest.raises(argparse.ArgumentTypeError):
        of(text)


def test_options_of_plugins_are_typed_by_their_defaults():
    given = [
        "--adamw.weight_decay",
        "0.1",
        "--ema.every=3",
        "--sgd.nesterov",
        "no",
        "--adamw.betas",
        "0.8,0.9",
        "--warmup.least",
        "5",
    ]
    assert plugin_options(given) == {
        "adamw.weight_decay": 0.1, "ema.every": 3, "sgd.nesterov": False, "adamw.betas": [0.8, 0.9], "warmup.least": 5,
    }  # fmt: skip
    assert plugin_options(["--adamw.weight-decay", "0.1"]) == {"adamw.weight_decay": 0.1}
    assert typed("rewind.cool", "0.25") == 0.25


@pytest.mark.parametrize(("name", "text"), [
    ("adamw.weight_decay", "inf"), ("adamw.weight_decay", "nan"), ("adamw.weight_decay", "x"), ("ema.every", "1.5"),
    ("sgd.nesterov", "maybe"), ("adamw.betas", "a,b"),
])  # fmt: skip
def test_options_of_plugins_that_cannot_be_are_refused(name: str, text: str):
    with pytest.raises(InputTrouble, match=f"--{name} {text}: expected a value like"):
        typed(name, text)


def test_options_of_plugins_are_told_apart_wherever_they_stand():
    plain, plugged = separated(["train", "--adamw.eps", "1e-6", "images", "--lr=0.1", "--ema.decay=0.5", "p", "--sgd.momentum"])
    assert plain == ["train", "images", "--lr=0.1", "p"]
    assert plugged == ["--adamw.eps", "1e-6", "--ema.decay=0.5", "--sgd.momentum"]
    assert separated(["--runs=./a.b", "x.y"]) == (["--runs=./a.b", "x.y"], []), "a dot in a value is none in a name"
