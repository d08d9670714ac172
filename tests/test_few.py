"""`gradlearn train images` on very few pictures: it says on how many of them its score rests, or that there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradlearn.cli import run
from gradlearn.loaded import load

SMALL = ["--convnet.width", "8", "--threads", "1", "--steps", "4"]


def folder(path: Path, of_each: int) -> Path:
    """Two classes of so many pictures of 8 x 8."""
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for i in range(of_each):
            Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(path / name / f"{i}.png")
    return path


def trained(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[dict[str, Any], str]:
    """The document of a short run, and what was said beside it."""
    code = run(["train", "images", str(path), "--runs", str(path.parent / "runs"), "--json", *SMALL, *more])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out), said.err


def test_of_one_picture_of_each_class_all_are_trained_on_and_no_score_is_claimed(tmp_path, capsys):
    summary, _ = trained(folder(tmp_path / "d", 1), capsys)
    assert summary["score"] == {}
    assert "on 2 images" in summary["story"]
    assert "No test data were scored" in summary["story"]
    run_folder = Path(summary["run"])
    said = json.loads((run_folder / "pictures" / "lint.json").read_text())
    assert any("none is left for test" in row["what"] for row in said)
    assert (run_folder / "report.html").is_file()
    assert load(run_folder).predict(np.zeros((3, 8, 8, 1), np.uint8)).shape == (3, 2)


def test_a_score_on_two_pictures_has_its_interval_and_needs_no_validation(tmp_path, capsys):
    summary, _ = trained(folder(tmp_path / "d", 5), capsys)
    assert set(summary["score"]) == {"name", "higher", "test", "all"}
    assert "No data were set aside for validation" in summary["story"]
    assert "On the 2 test images" in summary["story"]
    assert "95% interval" in summary["story"]


@pytest.mark.parametrize(("more", "scored"), [(("--test", "0"), []), (("--valid", "0.2"), ["test", "valid"])])
def test_what_is_asked_for_is_set_aside_and_nothing_else(more, scored, tmp_path, capsys):
    summary, _ = trained(folder(tmp_path / "d", 5), capsys, *more)
    assert sorted(summary["score"].keys() & {"valid", "test"}) == scored
