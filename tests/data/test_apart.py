"""Pictures set apart: bit for bit those in memory; training pictures in memory; a full disk changes only where they are."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gradlearn.data import apart as module
from gradlearn.data.apart import Apart, beside
from gradlearn.data.drawn import PictureData
from gradlearn.data.images import read
from gradlearn.data.lint import lint
from gradlearn.data.stored import Stored, take


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 1)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (50, 3, 4, 3), dtype=np.uint8)


@pytest.fixture
def aside():
    return np.random.default_rng(1).random(50) < 0.3


def filled(pixels, aside, cache, memory=None) -> Apart:
    target = beside(aside, pixels.shape[1:], memory, cache)
    assert target is not None
    for start in range(0, len(pixels), 7):
        target.put(pixels[start : start + 7])
    return target.close()


@pytest.fixture
def folder(tmp_path):
    """An IDX folder of 300 training and 60 test pictures, 6 x 5."""
    place, draw = tmp_path / "idx", np.random.default_rng(2)
    place.mkdir()
    for name, n in (("train", 300), ("t10k", 60)):
        (place / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + bytes(i % 3 for i in range(n)))
        body = draw.integers(0, 256, (n, 6, 5), dtype=np.uint8).tobytes()
        (place / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, n, 6, 5) + body)
    return place


def test_taken_from_both_places_equals_taken_from_memory(pixels, aside, tmp_path):
    both = filled(pixels, aside, tmp_path / "pixels")
    assert (both.shape, len(both), both.nbytes) == (pixels.shape, 50, pixels.nbytes)
    assert (len(both.memory), len(both.file)) == (int((~aside).sum()), int(aside.sum()))
    draw = np.random.default_rng(3)
    inside, outside = np.flatnonzero(~aside), np.flatnonzero(aside)
    for index in ([], [0], [49, 0], range(50), [5, 5, 5], inside[::-1], outside, draw.integers(0, 50, 200)):
        index = np.array(index, dtype=np.int32)
        assert take(both, index).tobytes() == take(pixels, index).tobytes()
        assert take(both, index).shape == (len(index), 3, 4, 3)


def test_within_gives_the_rows_in_memory_or_none(pixels, aside, tmp_path):
    both = filled(pixels, aside, tmp_path / "pixels")
    inside = np.flatnonzero(~aside)[::-1]
    rows = both.within(inside)
    assert rows is not None
    assert (both.memory[rows] == pixels[inside]).all()
    assert both.within(np.append(inside, np.flatnonzero(aside)[0])) is None


def test_fewer_than_expected_are_still_each_in_its_place(pixels, aside, tmp_path):
    target = beside(aside, (3, 4, 3), None, tmp_path / "pixels")
    assert target is not None
    target.put(pixels[:41])
    both = target.close()
    assert take(both, np.arange(41)).tobytes() == pixels[:41].tobytes()


def test_not_where_it_is_not_worth_a_file_or_all_go_to_one(pixels, aside, tmp_path, monkeypatch):
    assert beside(aside, (3, 4, 3), None, None) is None
    assert beside(aside, (3, 4, 3), pixels.nbytes - 1, tmp_path / "pixels") is None
    monkeypatch.setattr(module, "LEAST", int(aside.sum()) * 36 + 1)
    assert beside(aside, (3, 4, 3), None, tmp_path / "pixels") is None
    assert os.listdir(tmp_path) == []


def test_a_full_disk_keeps_all_in_memory(aside, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    assert beside(aside, (3, 4, 3), None, tmp_path / "pixels") is None
    assert os.listdir(tmp_path) == []


def test_dropping_leaves_no_file(aside, tmp_path):
    target = beside(aside, (3, 4, 3), None, tmp_path / "pixels")
    assert target is not None
    target.drop()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [{}, {"valid": 0.2}, {"valid": 0.2, "test": 0.1}])
def test_data_set_apart_are_the_data_in_memory(folder, tmp_path, options):
    plain, both = read(folder, **options), read(folder, **options, cache=tmp_path / "pixels")
    assert isinstance(plain.pixels, np.ndarray)
    assert isinstance(both.pixels, Apart)
    assert both.fingerprint == plain.fingerprint
    assert lint(both) == lint(plain)
    for name, rows in plain.split.items():
        assert (both.split[name] == rows).all()
        assert (both.pixels.within(rows) is not None) == (name == "train" or not len(rows))
        index = torch.arange(len(rows)).flip(0)
        one, other = (PictureData(pictures, rows)(index, -1) for pictures in (plain, both))
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
        assert torch.equal(one.index, other.index)
        assert one.y.dtype == one.index.dtype == torch.int64


def test_beyond_the_limit_all_pictures_are_in_the_file(folder, tmp_path):
    assert isinstance(read(folder, memory=100, cache=tmp_path / "pixels").pixels, Stored)


def test_a_picture_found_bad_while_it_is_decoded_moves_none_of_the_others(tmp_path):
    from PIL import Image

    draw, place = np.random.default_rng(4), tmp_path / "d"
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(place / name / f"{i}.png")
    whole = (place / "a" / "3.png").read_bytes()
    (place / "a" / "3.png").write_bytes(whole[: len(whole) // 2])
    plain, both = read(place, skip_bad=0.5), read(place, skip_bad=0.5, cache=tmp_path / "pixels")
    assert len(both) == 39
    assert list(both.files) == list(plain.files)
    assert take(both.pixels, np.arange(39)).tobytes() == take(plain.pixels, np.arange(39)).tobytes()
    assert all((both.split[name] == rows).all() for name, rows in plain.split.items())
