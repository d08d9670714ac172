"""Pictures in a file: bit for bit those in memory, and a disk that is full leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from gradlearn.data.stored import Disk, Stored, sink, take
from gradlearn.errors import InputTrouble, ResourceTrouble


@pytest.fixture
def pair(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 3), dtype=np.uint8)
    target = sink(50, (3, 4, 3), 0, tmp_path / "pixels")
    for start in range(0, 50, 7):
        target.put(pixels[start : start + 7])
    return pixels, target.close()


def test_taken_from_the_file_equals_taken_from_memory(pair):
    pixels, stored = pair
    assert (stored.shape, len(stored), stored.nbytes) == (pixels.shape, 50, pixels.nbytes)
    draw = np.random.default_rng(1)
    for index in ([], [0], [49, 0], range(50), [5, 5, 5], [3, 4, 5, 9, 10, 2], draw.integers(0, 50, 200)):
        index = np.array(index, dtype=np.int64)
        assert take(stored, index).tobytes() == take(pixels, index).tobytes()
        assert take(stored, index).shape == (len(index), 3, 4, 3)


def test_outside_is_an_error_and_not_another_picture(pair):
    for index in ([50], [-1]):
        with pytest.raises(IndexError):
            pair[1].take(np.array(index))


def test_neighbours_are_read_in_one_call(pair, monkeypatch):
    calls = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: calls.append(a) or real(*a))
    pair[1].take(np.array([7, 3, 4, 5, 20]))
    assert len(calls) == 3


def test_short_reads_are_continued(pair, monkeypatch):
    pixels, stored = pair
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: real(fd, [into[0][:5]], at))
    assert (stored.take(np.arange(4)) == pixels[:4]).all()


def test_reading_does_not_grow_memory(tmp_path):
    path, shape = tmp_path / "pixels", (4000, 64, 64, 3)
    with path.open("wb") as file:
        file.truncate(int(np.prod(shape)))
    code = f"""if True:
        import resource
        import numpy as np
        from gradlearn.data.stored import Stored
        stored, peaks = Stored({str(path)!r}, {shape}), []
        for start in range(0, 4000, 100):
            stored.take(np.arange(start, start + 100))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print((peaks[-1] - peaks[1]) / peaks[1])
    """
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(grown) < 0.2  # mapped, 49 MB would come on top of some 35


def test_a_file_of_another_size_is_refused(pair):
    stored = pair[1]
    with pytest.raises(InputTrouble, match="1800 of 1836 bytes"):
        Stored(stored.path, (51, 3, 4, 3))
    with pytest.raises(InputTrouble, match="No such file"):
        Stored(stored.path.with_name("gone"), (1, 1, 1, 1))


def test_a_file_that_shrank_is_noticed(pair):
    os.truncate(pair[1].path, 100)
    with pytest.raises(ResourceTrouble, match="ends too early"):
        pair[1].take(np.array([40]))


def test_full_disk_is_one_line_and_nothing_is_left(tmp_path, monkeypatch):
    target = Disk(10, (2, 2, 1), tmp_path / "pixels")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ResourceTrouble, match=r"disk is full \(No space left on device\), the decoded pictures need"):
        target.put(np.zeros((1, 2, 2, 1), np.uint8))
    target.drop()
    assert os.listdir(tmp_path) == []


def test_too_little_room_is_said_before_the_first_byte(tmp_path):
    with pytest.raises(ResourceTrouble, match=r"disk is full .* free"):
        sink(10**9, (1000, 1000, 3), 0, tmp_path / "pixels")
    assert os.listdir(tmp_path) == []


def test_no_place_for_what_does_not_fit():
    with pytest.raises(ResourceTrouble, match=r"3\.0 GB of decoded pictures, 1\.0 GB of memory set aside"):
        sink(1000, (1000, 1000, 3), 10**9, None)
    assert sink(10, (2, 2, 1), 40, None).close().shape == (0, 2, 2, 1)


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(ResourceTrouble, match="write failed: No such file"):
        sink(10, (2, 2, 1), 0, tmp_path / "no" / "pixels")
