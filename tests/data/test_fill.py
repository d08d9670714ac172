"""Decoding into place: one size for all, order kept whatever the threads, bad pictures found and counted."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from gradlearn.data import fill as module
from gradlearn.data.decode import decode
from gradlearn.data.fill import Wish, common, fill, in_order
from gradlearn.data.source import Part
from gradlearn.errors import InputTrouble, ResourceTrouble


def part(pictures: list, shape=None, run: int = 3) -> Part:
    names = [f"{i}.png" for i in range(len(pictures))]
    chunks = lambda: (pictures[i : i + run] for i in range(0, len(pictures), run))  # noqa: E731
    return Part("d", names, np.arange(len(pictures)) % 2, chunks, shape)


def sizes(*rows) -> np.ndarray:
    return np.array(rows, np.int32)


def test_order_is_kept_and_few_are_ahead():
    ahead, done = [], []

    def work(i: int) -> int:
        time.sleep(0.001 * (i % 3))
        return i

    def runs():
        for i in range(60):
            ahead.append(i - len(done))
            yield i

    for result in in_order(work, runs()):
        done.append(result)
    assert done == list(range(60))
    assert max(ahead) <= 8 + 4


def test_an_error_in_a_thread_is_raised_and_the_threads_end():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda i: 1 // (i - 5), range(100)))
    assert threading.active_count() == before


def test_one_size_for_all():
    for given, wish, shape in (
        (sizes((30, 40, 3), (30, 40, 1)), Wish(), (30, 40, 3)),
        (sizes((30, 40, 1), (30, 40, 1)), Wish(), (30, 40, 1)),
        (sizes((300, 400, 3), (300, 400, 3)), Wish(), (300, 400, 3)),
        (sizes((30, 40, 3), (34, 40, 3), (38, 50, 3)), Wish(), (32, 40, 3)),
        (sizes((300, 400, 3), (301, 400, 3)), Wish(), (96, 128, 3)),
        (sizes((1, 1, 1), (2, 3, 1)), Wish(), (8, 8, 1)),
        (sizes((1000, 10, 1), (1001, 10, 1)), Wish(), (128, 8, 1)),
        (sizes((30, 40, 3)), Wish(size=(20, 10), channels=1), (20, 10, 1)),
    ):
        assert common(given, wish) == shape


def test_pixels_are_those_of_each_picture(draw):
    pictures = [draw.encoded(draw.noise(i)) for i in range(10)]
    filled = fill({"train": part(pictures[:7]), "test": part(pictures[7:])}, Wish(), [])
    assert (filled.pixels == np.stack([decode(p, None, None) for p in pictures])).all()
    assert {name: len(index) for name, index in filled.kept.items()} == {"train": 7, "test": 3}
    assert filled.notes == []


def test_mixed_sizes_and_grey_among_colour_are_noted(draw):
    pictures = [draw.encoded(draw.noise(i, 12 + 4 * (i % 2), 16, 1 if i == 3 else 3)) for i in range(10)]
    filled = fill({"train": part(pictures)}, Wish(), [])
    assert filled.pixels.shape == (10, 16, 16, 3)
    what = [(row["what"], row["count"], row["examples"][0]) for row in filled.notes]
    assert what == [
        ("5 of 10 pictures scaled and cut to 16x16 (sizes from 16x12 to 16x16)", 5, "0.png"),
        ("1 of 10 pictures are grey among colour", 1, "3.png"),
    ]


def test_bad_pictures_of_both_passes_are_counted(draw):
    good = draw.encoded(draw.noise())
    pictures = [good] * 50
    pictures[7], pictures[11], pictures[12], pictures[30] = b"", b"hello world", good[:-20], good[:40]
    with pytest.raises(InputTrouble) as caught:
        fill({"train": part(pictures)}, Wish(), [])
    expected = "d/7.png: file is empty (0 bytes) (+3 more); 4 of 50 images unreadable (8 %), replace them or pass --skip-bad 10%"
    assert str(caught.value) == expected
    filled = fill({"train": part(pictures)}, Wish(skip_bad=0.1), [])
    assert sorted(set(range(50)) - set(filled.kept["train"].tolist())) == [7, 11, 12, 30]
    assert filled.pixels.shape[0] == 46
    assert filled.notes[0]["count"] == 4


def test_a_single_bad_picture_has_its_own_line(draw):
    good = draw.encoded(draw.noise())
    with pytest.raises(InputTrouble) as caught:
        fill({"train": part([good, good[:-20], good])}, Wish(), [])
    assert str(caught.value).startswith("d/1.png: image is truncated (")
    assert str(caught.value).endswith("bytes decodable); replace it or pass --skip-bad 1%")


def test_all_bad_is_an_error_whatever_may_be_skipped():
    with pytest.raises(InputTrouble, match="2 of 2 images unreadable"):
        fill({"train": part([b"", b"x"])}, Wish(skip_bad=1.0), [])


def test_decoded_pictures_pass_through_and_are_fitted(draw):
    block = np.stack([draw.noise(i, 8, 8, 1) for i in range(6)])
    same = fill({"train": Part("d", list("abcdef"), np.zeros(6, np.int64), lambda: iter([block]), (8, 8, 1))}, Wish(), [])
    assert (same.pixels == block).all()
    mixed = {
        "train": Part("d", list("abcdef"), np.zeros(6, np.int64), lambda: iter([block]), (8, 8, 1)),
        "test": part([draw.encoded(draw.noise(9, 8, 8))]),
    }
    filled = fill(mixed, Wish(), [])
    assert filled.pixels.shape == (7, 8, 8, 3)
    assert (filled.pixels[:6] == block).all()
    assert fill(mixed, Wish(size=(4, 5), channels=1), []).pixels.shape == (7, 4, 5, 1)


def test_the_digest_is_of_contents_names_and_labels(draw):
    pictures = [draw.encoded(draw.noise(i)) for i in range(6)]
    one = fill({"train": part(pictures)}, Wish(), []).digest
    assert fill({"train": part(pictures, run=2)}, Wish(size=(4, 4)), []).digest == one
    assert fill({"train": part(pictures[::-1])}, Wish(), []).digest != one
    assert fill({"test": part(pictures)}, Wish(), []).digest != one
    relabelled = part(pictures)
    relabelled.labels[0] = 1
    assert fill({"train": relabelled}, Wish(), []).digest != one


def test_a_failed_decoding_leaves_no_file(draw, tmp_path):
    good = draw.encoded(draw.noise())
    with pytest.raises(InputTrouble):
        fill({"train": part([good] * 20 + [good[:-20]])}, Wish(memory=0, cache=tmp_path / "pixels"), [])
    assert list(tmp_path.iterdir()) == []


def test_memory_that_is_exhausted_is_one_line(draw, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(module, "decode", exhausted)
    with pytest.raises(ResourceTrouble, match="memory exhausted"):
        fill({"train": part([draw.encoded(draw.noise())])}, Wish(), [])


def test_large_pictures_are_decoded_a_few_at_a_time(draw, monkeypatch):
    monkeypatch.setattr(module, "RUN_BYTES", 12 * 10 * 3 * 2)
    seen = []
    real = module._run
    monkeypatch.setattr(module, "_run", lambda run, **k: seen.append(len(run[0])) or real(run, **k))
    pictures = [draw.encoded(draw.noise(i)) for i in range(7)]
    filled = fill({"train": part(pictures, run=5)}, Wish(), [])
    assert sorted(seen) == [1, 2, 2, 2]
    assert (filled.pixels[6] == draw.noise(6)).all()
