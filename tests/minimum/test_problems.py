"""The named functions have their minima where they are said to be; the picture and the command show them."""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from gradlearn.descend import minimize
from gradlearn.errors import InputTrouble
from gradlearn.minimum.command import minimize as command
from gradlearn.minimum.picture import draw
from gradlearn.minimum.problems import PROBLEMS, named


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_minimum_is_where_it_is_said_to_be(name):
    f, n = named(name)
    g = torch.Generator().manual_seed(0)
    rows = f.low + (f.high - f.low) * torch.rand(500, n, generator=g, dtype=torch.float64)
    assert f.value(rows).shape == (500,)
    torch.testing.assert_close(f.value(rows)[3], f.value(rows[3]))
    if f.lowest is None:
        return
    x = (
        torch.full((n,), f.lowest, dtype=torch.float64)
        if isinstance(f.lowest, float)
        else torch.tensor(f.lowest, dtype=torch.float64)
    )
    assert float(f.value(x)) <= float(f.value(rows).min())
    if f.least is not None:
        assert float(f.value(x)) == pytest.approx(f.least, abs=1e-9)
    near = x + 1e-3 * torch.randn(50, n, generator=g, dtype=torch.float64)
    assert (f.value(near) >= f.value(x) - 1e-9).all()


def options(function, **more):
    names = ("dim", "time", "max_evals", "tol", "target", "bounds", "start", "search", "picture")
    return argparse.Namespace(**(dict.fromkeys(names) | {"function": function, "seed": 0, "json": True} | more))


def test_the_command_prints_one_document(capsys, tmp_path):
    picture = tmp_path / "map.svg"
    assert command(options("himmelblau", max_evals=600, picture=picture), [], 0.0) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fun"] < 1e-9
    assert document["certificate"]["verdict"] == "minimum"
    assert document["nfev"] <= 600
    assert document["found"][-1][2] == document["fun"]
    ElementTree.fromstring(picture.read_text())


def test_the_command_tells_in_words(capsys):
    assert command(options("rosenbrock", dim=3, search="none", start="-1.2,1,1", json=False), [], 0.0) == 0
    text = capsys.readouterr().out
    assert text.startswith("f(1, 1, 1) = ")
    assert "Minimum" in text


def test_a_function_of_ones_own_is_imported_from_where_one_stands(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_bowl.py").write_text(
        "def bowl(x):\n    return ((x - 2) ** 2).sum()\nbowl.dim = 3\nbowl.bounds = (-5, 1)\nword = 'x'\n"
    )
    monkeypatch.chdir(tmp_path)
    assert command(options("my_bowl:bowl", search="none"), [], 0.0) == 0
    assert json.loads(capsys.readouterr().out)["x"] == pytest.approx([1, 1, 1])
    with pytest.raises(InputTrouble, match="did you mean 'bowl'"):
        command(options("my_bowl:bowls"), [], 0.0)
    with pytest.raises(InputTrouble, match="no function 'word'"):
        command(options("my_bowl:word"), [], 0.0)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (options("rastrigim"), "did you mean 'rastrigin'"),
        (options("beale", dim=3), "has 2 dimensions"),
        (options("rosenbrock", dim=1), "too few"),
        (options("no_such_module_here:f"), "cannot import"),
        (options("sphere", bounds="1"), "--bounds 1"),
        (options("sphere", bounds="1,2;3,4;5,6"), "for each of 2"),
        (options("sphere", start="a,b"), "--start"),
        (options("math:sqrt"), "--dim N"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(given, line):
    with pytest.raises(InputTrouble, match=line) as caught:
        command(given, [], 0.0)
    assert "\n" not in str(caught.value)


def test_a_picture_in_two_dimensions_has_the_path_and_else_the_curve():
    flat = minimize(lambda x: ((x - 1) ** 2).sum() - 3, torch.zeros(2, dtype=torch.float64))
    text = draw(flat, "a < b & c", lambda rows: ((rows - 1) ** 2).sum(-1), [-2, -2], [2, 2])
    root = ElementTree.fromstring(text)
    kinds = [part.get("class") for part in root.iter()]
    assert "way" in kinds
    assert kinds.count("end") == 2
    assert "script" not in text
    curve = draw(minimize(lambda x: (x**4).sum() - 3, torch.ones(3)), "curve", lambda rows: rows, [0], [1])
    assert "curve" in [part.get("class") for part in ElementTree.fromstring(curve).iter()]
