"""Every example runs, and the number it prints is what it should be."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # what an example draws, it draws where it is run

    def run(name: str) -> str:
        state = torch.get_rng_state()
        try:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        finally:
            torch.set_rng_state(state)
        return capsys.readouterr().out

    return run


def test_the_equation_finds_the_line(play):
    slope, offset = map(float, re.search(r"y = (\S+) x (\S+)", play("01_equation")).groups())
    assert slope == pytest.approx(3, abs=0.05)
    assert offset == pytest.approx(-1, abs=0.05)


def test_a_module_learns_digits(play):
    assert float(re.search(r"never seen: (\S+)", play("02_fit_module"))[1]) > 0.9


def test_the_loop_ends_when_its_owner_says(play):
    text = play("03_loop")
    assert int(re.search(r"ended after (\d+) of 5000", text)[1]) < 5000
    assert float(re.search(r"squared error: (\S+)", text)[1]) < 0.002


def test_three_batches_take_the_same_passes_in_as_many_steps_and_are_drawn(play, tmp_path: Path):
    text = play("04_three_batches")
    rows = {
        name.strip(): (int(n), float(loss)) for name, n, loss in re.findall(r"^(.+?) +(\d+) steps +loss (\S+)$", text, re.MULTILINE)
    }
    assert [rows[k][0] for k in ("full batch", "mini-batch", "single")] == [5, 100, 3200]
    assert 0.3 < rows["full batch"][1] < 0.4
    assert rows["mini-batch"][1] < 0.265  # 0.2619 is the least
    assert rows["single"][1] < 0.28
    drawn = ElementTree.parse(tmp_path / "three_batches.svg").getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 15


def test_minimize_leaves_the_saddle_and_finds_the_best_valley(play):
    text = play("05_minimize")
    assert "f = -0.250000, minimum" in text
    assert float(re.search(r"valleys: f = (\S+),", text)[1]) < 1e-8


def test_every_augmentation_moves_pixels_and_is_drawn(play, tmp_path: Path):
    text = play("06_augmentations")
    moved = [float(number) for number in re.findall(r" +(\S+) of 255", text)]
    assert len(moved) == 9
    assert min(moved) > 2
    assert int(re.search(r"(\d+)% a house", text)[1]) not in (0, 100)
    from PIL import Image

    with Image.open(tmp_path / "augmentations.png") as drawn:
        assert drawn.size == (84 + 7 * 96, 9 * 96)


def test_a_detector_finds_written_digits_and_draws_them(play, tmp_path: Path):
    pytest.importorskip("faster_coco_eval", reason="the extra `detect` is not installed")
    text = play("07_boxes")
    assert float(re.search(r"mAP50 (\S+),", text)[1]) > 0.5  # one that has learned nothing has less than 0.02
    from PIL import Image

    with Image.open(tmp_path / "boxes.png") as drawn:
        assert drawn.size == (3 * 192, 2 * 144)


def test_every_example_is_tested():
    text = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'play("{path.stem}")' in text, path.name
