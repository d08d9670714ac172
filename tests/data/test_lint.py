"""Lint: each row appears on data made to have it, with the right count, and none on clean data."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gradlearn.data.images import Pictures
from gradlearn.data.lint import lint
from gradlearn.data.stored import sink


def pictures(pixels: np.ndarray, labels: np.ndarray, split: dict[str, np.ndarray] | None = None, **extra) -> Pictures:
    n = len(pixels)
    cut = n // 2
    split = split or {"train": np.arange(cut), "valid": np.arange(cut, cut + n // 4), "test": np.arange(cut + n // 4, n)}
    files = [f"{i}.png" for i in range(n)]
    values = {"classes": ("a", "b"), "files": files, "kind": "folder", "source": "d", "notes": [], "fingerprint": ""} | extra
    return Pictures(pixels=pixels, labels=labels, split=split, **values)


@pytest.fixture
def clean():
    return np.random.default_rng(0).integers(0, 256, (80, 4, 5, 3), dtype=np.uint8), np.arange(80) % 2


def rows(pixels, labels, **options) -> dict[str, tuple[str, int, list[str]]]:
    return {row["what"]: (row["level"], row["count"], row["examples"]) for row in lint(pictures(pixels, labels, **options))}


def test_clean_data_has_no_rows(clean):
    assert rows(*clean) == {}


def test_notes_of_the_reading_come_first(clean):
    note = {"level": "info", "what": "x", "count": 1, "examples": []}
    assert lint(pictures(*clean, notes=[note])) == [note]


def test_copies_in_train_and_across_parts(clean):
    pixels, labels = clean
    pixels[2] = pixels[6] = pixels[0]
    pixels[50] = pixels[1]
    pixels[71] = pixels[1]
    found = rows(pixels, labels)
    assert found["2 pictures of train are copies of others in it"] == ("info", 2, ["2.png = 0.png", "6.png = 0.png"])
    assert found["1 of 20 pictures of valid are also in train"] == ("warn", 1, ["50.png = 1.png"])
    assert found["1 of 20 pictures of test are also in train"][2] == ["71.png = 1.png"]
    assert found["1 of 20 pictures of test are also in valid"][2] == ["71.png = 50.png"]


def test_one_picture_with_two_labels(clean):
    pixels, labels = clean
    pixels[3] = pixels[0]
    found = rows(pixels, labels)
    assert found["1 pictures are there under two different labels"] == ("warn", 1, ["3.png (b) = 0.png (a)"])


def test_a_pixel_less_is_no_copy_but_nearly_one(clean):
    pixels, labels = clean
    pixels[1:4] = pixels[0]
    pixels[45] = pixels[75] = pixels[0]
    for i in (1, 2, 3, 45, 75):
        pixels[i].reshape(-1)[i % 60] ^= 1
    assert set(rows(pixels, labels)) == {
        "1 of 20 pictures of valid is nearly the same as one of train",
        "1 of 20 pictures of test is nearly the same as one of train",
        "1 of 20 pictures of test is nearly the same as one of valid",
        "8 pairs of pictures that are nearly the same have different labels",  # 0, 2 and 1, 3, 45, 75
    }


def test_blank_pictures(clean):
    pixels, labels = clean
    pixels[5] = (10, 20, 30)
    pixels[9] = 0
    pixels[11, :, :, 0] = 7
    assert rows(pixels, labels)["2 pictures are blank (one colour all over)"] == ("warn", 2, ["5.png", "9.png"])


def test_rare_and_uneven_classes(clean):
    pixels, _ = clean
    labels = np.zeros(80, np.int64)
    labels[:3] = 1
    found = rows(pixels, labels)
    assert found["1 classes have fewer than 10 training pictures"] == ("warn", 1, ["b (3)"])
    uneven = "classes are uneven: the largest has 37 training pictures, the smallest 3"
    assert found[uneven] == ("warn", 1, ["a (37)", "b (3)"])


def test_stored_pictures_give_the_same_rows(clean, tmp_path):
    pixels, labels = clean
    pixels[2] = pixels[0]
    pixels[5] = 3
    target = sink(80, (4, 5, 3), 0, tmp_path / "pixels")
    target.put(pixels)
    assert rows(target.close(), labels) == rows(pixels, labels)


def test_data_of_one_part_only(clean):
    pixels, labels = clean
    pixels[2] = pixels[0]
    assert rows(pixels, labels, split={"test": np.arange(80)}) == {}


def test_a_row_names_its_pictures_by_index_too(clean):
    pixels, labels = clean
    pixels[50] = pixels[1]
    pixels[5] = 7
    found = {row["name"]: row for row in lint(pictures(pixels, labels))}
    assert found["leak"]["at"] == [[50, 1]]
    assert (found["leak"]["part"], found["leak"]["other"]) == ("valid", "train")
    assert found["labels"]["examples"] == ["50.png (a) = 1.png (b)"]
    assert found["blank"]["at"] == [[5]]


def test_many_near_copies_in_a_part_are_a_warning_and_few_a_note():
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (400, 6, 6, 1), dtype=np.uint8)
    for copies, level in ((1, "info"), (2, "warn")):
        for i in range(copies):
            pixels[200 + i] = pixels[i]
            pixels[200 + i, 0, 0, 0] ^= 3
        split = {"train": np.arange(200), "test": np.arange(200, 400)}
        (row,) = lint(pictures(pixels, np.zeros(400, int), split, classes=("a",)))
        assert (row["level"], row["count"], row["at"][0]) == (level, copies, [200, 0])


def test_seventy_thousand_pictures_take_less_than_three_seconds():
    pixels = np.random.default_rng(0).integers(0, 256, (70_000, 28, 28, 1), dtype=np.uint8)
    start = time.process_time()
    lint(pictures(pixels, np.arange(70_000) % 2, files=range(70_000)))
    assert time.process_time() - start < 3.0
