"""What is said of a picture before and after a detector, for those without gradlearn: the code does what ours does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gradlearn.data.canvas import lay
from gradlearn.data.canvas_steps import picker, reader, steps
from gradlearn.detected import picked


def made(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"np": np}
    exec(text, names)
    return names


@pytest.mark.parametrize("size", [(64, 96), (61, 90), (31, 90), (90, 40), (200, 300), (7, 500)])
def test_the_reader_lays_a_file_as_we_do_and_knows_the_way_back(tmp_path: Path, size: tuple[int, int]):
    file = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file)
    ours = lay([str(file)], (64, 96))
    pixels, (scale, x, y) = made(reader((64, 96, 3)))["canvas"](str(file))
    gap = np.abs(pixels.astype(int) - ours.take(np.array([0])).numpy())
    assert gap.max() <= 16, "bytes are rounded between two passes"
    assert gap.mean() <= 0.2, "the same places of the picture are read"
    box = np.array([[3.0, 4.0, 20.0, 9.0]])
    assert box * scale + np.array([x, y, x, y]) == pytest.approx(ours.back(box, np.array([0])), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 25), st.integers(1, 3))
def test_the_picker_keeps_what_we_keep(seed: int, n: int, classes: int):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 30, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (n, 2))], 1).astype(np.float32)
    scores = rng.uniform(0, 1, (n, classes)).astype(np.float32)
    found = made(picker(0.4, 0.6))["picked"](boxes, scores, (2.0, 1.0, 3.0))
    ours = picked(torch.from_numpy(scores), torch.from_numpy(boxes), torch.tensor([100, 100]), 0.4)
    assert [label for label, _, _ in found] == ours.labels.tolist()
    assert [score for _, score, _ in found] == pytest.approx(ours.scores.tolist())
    for (_, _, box), mine in zip(found, ours.boxes.numpy(), strict=True):
        assert box == pytest.approx(mine * 2.0 + np.array([1.0, 3.0, 1.0, 3.0]), rel=1e-5)


def test_steps_name_the_numbers_of_the_canvas():
    by = {row["step"]: row for row in steps((64, 96, 3))}
    assert list(by) == ["decode", "turn", "flatten", "resize", "canvas", "channels", "layout"]
    assert (by["resize"]["height"], by["resize"]["width"], by["canvas"]["background"]) == (64, 96, 114)
