"""The door: every kind of data, found out and read; the split, the fingerprint, the file for large sets; every line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradlearn.data.images import read, read_files, read_known
from gradlearn.data.lint import lint
from gradlearn.data.stored import Stored, take
from gradlearn.errors import InputTrouble, ResourceTrouble

SHARED = Path(__file__).parents[3] / "shared" / "data"


def refused(path, **options) -> str:
    with pytest.raises(InputTrouble) as caught:
        read(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert line.isprintable()
    return line


def complete(pictures) -> bool:
    everything = np.concatenate(list(pictures.split.values()))
    return sorted(everything.tolist()) == list(range(len(pictures)))


def test_digits_where_no_path_is_given():
    pictures = read(None)
    assert (pictures.kind, pictures.shape, len(pictures)) == ("digits", (8, 8, 1), 1797)
    assert {name: len(index) for name, index in pictures.split.items()} == {"train": 1294, "valid": 144, "test": 359}
    assert complete(pictures)
    assert pictures.pixels.max() == 255
    assert pictures.files[17] == "digits[17]"


def test_the_seed_moves_the_split_and_nothing_else():
    one, two = read(None, seed=0), read(None, seed=1)
    assert (one.pixels == two.pixels).all()
    assert one.fingerprint == two.fingerprint
    assert not np.array_equal(one.split["test"], two.split["test"])


def test_folder_with_and_without_parts(draw, tmp_path):
    flat = read(draw.folder(tmp_path / "flat", n=20))
    assert (flat.kind, flat.classes, flat.shape) == ("folder", ("cat", "dog"), (12, 10, 3))
    assert {name: len(index) for name, index in flat.split.items()} == {"train": 32, "valid": 0, "test": 8}
    assert complete(flat)
    parts = read(draw.folder(tmp_path / "parts", n=10, parts=("train", "val", "test")))
    assert {name: index.tolist() for name, index in parts.split.items()} == {
        "train": list(range(20)),
        "valid": list(range(20, 40)),
        "test": list(range(40, 60)),
    }
    assert parts.files[25] == "val/cat/5.png"
    assert (parts.pixels[25] == draw.noise(26)).all()


def test_a_given_test_part_is_all_of_the_test(draw, tmp_path):
    pictures = read(draw.folder(tmp_path / "d", n=10, parts=("train", "test")))
    assert pictures.split["test"].tolist() == list(range(20, 40))
    assert len(pictures.split["train"]) == 20
    assert complete(pictures)


def test_parquet_equals_the_folder_of_the_same_pictures(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=10)
    files = [root / name / f"{i}.png" for name in ("cat", "dog") for i in range(10)]
    draw.table(tmp_path / "x.parquet", [f.read_bytes() for f in files], [f.parent.name for f in files])
    one, two = read(root), read(tmp_path / "x.parquet")
    assert two.kind == "parquet"
    assert (one.pixels == two.pixels).all()
    assert one.labels.tolist() == two.labels.tolist()
    assert one.classes == two.classes
    assert all(np.array_equal(one.split[name], two.split[name]) for name in one.split)


def test_idx_gzipped_equals_plain(draw, tmp_path):
    one = read(draw.idx_folder(tmp_path / "a", n=60))
    two = read(draw.idx_folder(tmp_path / "b", n=60, zipped=True))
    assert one.kind == "idx"
    assert (one.pixels == two.pixels).all()
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("kind", ["folder", "idx", "parquet"])
def test_fingerprint_is_of_contents_not_of_places_or_times(draw, tmp_path, kind):
    root = tmp_path / "a"
    root.mkdir()
    if kind == "folder":
        draw.folder(root, n=10)
        changed = root / "cat" / "3.png"
    elif kind == "idx":
        draw.idx_folder(root, n=30)
        changed = root / "train-images-idx3-ubyte"
    else:
        draw.table(root / "train.parquet", [draw.encoded(draw.noise(i)) for i in range(20)], [0, 1] * 10)
        changed = root / "train.parquet"
    before = read(root).fingerprint
    copy = tmp_path / "other" / "place"
    shutil.copytree(root, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert read(copy).fingerprint == before
    assert read(copy, seed=3, size=6, valid=0.2).fingerprint == before
    if kind == "parquet":
        draw.table(changed, [draw.encoded(draw.noise(i)) for i in range(1, 21)], [0, 1] * 10)
    else:
        changed.write_bytes(draw.encoded(draw.noise(99)) if kind == "folder" else changed.read_bytes()[:-1] + b"!")
    assert read(root).fingerprint != before


def test_shares_and_paths_for_valid_and_test(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=20)
    asked = read(root, valid=0.25, test=0.5)
    assert {name: len(index) for name, index in asked.split.items()} == {"train": 15, "valid": 5, "test": 20}
    other = draw.folder(tmp_path / "e", n=3, parts=("train", "test"))
    both = read(root, test=other, valid=draw.folder(tmp_path / "f", n=4, classes=("dog",)))
    assert {name: len(index) for name, index in both.split.items()} == {"train": 40, "valid": 4, "test": 6}
    assert both.labels[both.split["valid"]].tolist() == [1] * 4
    assert both.files[both.split["test"][0]] == "test/cat/0.png"
    assert (both.pixels[both.split["test"][0]] == draw.noise(7)).all()
    assert refused(root, test=other / "train" / "cat").endswith(f"expected {other}/train/cat/<class>/<image>")


def test_a_share_in_place_of_a_given_part_is_noted(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=10, parts=("train", "test"))
    pictures = read(root, test=0.3)
    assert len(pictures) == 20
    assert len(pictures.split["test"]) == 6
    assert pictures.notes[0]["what"].startswith("the given test part (20 pictures) is not used: --test 0.3")


def test_data_of_another_kind_for_test(draw, tmp_path):
    root = draw.idx_folder(tmp_path / "i", n=30, colours=True, parts=("train",))
    pictures = [draw.encoded(draw.noise(i, 9, 9)) for i in range(6)]
    draw.table(tmp_path / "t.parquet", pictures, [0, 1, 2] * 2)
    found = read(root, test=tmp_path / "t.parquet")
    assert (found.shape, len(found.split["test"])) == ((8, 8, 3), 6)
    draw.table(tmp_path / "t.parquet", pictures, [0, 1, 5] * 2)
    assert "class '5' is not in train" in refused(root, test=tmp_path / "t.parquet")


def test_size_and_channels(draw, tmp_path):
    grey = draw.folder(tmp_path / "grey", c=1)
    assert read(grey).shape == (12, 10, 1)
    assert read(grey, size=6).shape == (6, 6, 1)
    assert read(grey, size=(6, 9)).shape == (6, 9, 1)
    assert refused(grey, size=0).startswith("--size 0x0: must be 1 to 4096")


def test_stored_equals_in_memory_bit_for_bit(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=40)
    memory = read(root)
    stored = read(root, memory=memory.pixels.nbytes - 1, cache=tmp_path / "pixels")
    assert isinstance(stored.pixels, Stored)
    assert isinstance(read(root, memory=memory.pixels.nbytes).pixels, np.ndarray)
    assert stored.shape == memory.shape
    for index in (*stored.split.values(), np.array([5, 1, 1, 79])):
        assert take(stored.pixels, index).tobytes() == take(memory.pixels, index).tobytes()
    assert (stored.fingerprint, lint(stored)) == (memory.fingerprint, lint(memory))
    with pytest.raises(ResourceTrouble, match="memory set aside"):
        read(root, memory=100)


def test_skipping_is_the_same_every_time_and_said(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=30)
    (root / "cat" / "3.png").write_bytes(b"")
    os.mkfifo(root / "dog" / "p.png")
    assert "2 of 61 images unreadable (3.3 %)" in refused(root)
    one, two = read(root, skip_bad=0.05), read(root, skip_bad=0.05)
    assert len(one) == 59
    assert "cat/3.png" not in list(one.files)
    assert all(np.array_equal(one.split[name], two.split[name]) for name in one.split)
    assert one.fingerprint == two.fingerprint
    assert lint(one)[0]["count"] == 2
    assert (one.pixels[3] == draw.noise(5)).all()


def test_lines_of_paths(draw, tmp_path):
    missing = tmp_path / "no"
    assert refused(missing) == f"{missing}: folder not found; give an existing image folder"
    assert refused(f"{missing}.parquet").endswith("file not found; give an existing Parquet file")
    os.mkfifo(tmp_path / "p")
    assert refused(tmp_path / "p") == f"{tmp_path}/p: not a regular file (FIFO); remove it"
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path / "loop") == f"{tmp_path}/loop: link loop; remove the link"
    for name, word in (("x.png", "one picture"), ("x.zip", "archives are not unpacked"), ("x.csv", "no picture data")):
        (tmp_path / name).write_bytes(b"x")
        assert refused(tmp_path / name).startswith(f"{tmp_path}/{name}: {word}")
    draw.idx_folder(tmp_path / "i")
    assert "give its folder" in refused(tmp_path / "i" / "train-images-idx3-ubyte")
    assert refused("a\0b").startswith("a\\x00b: ")
    assert refused(tmp_path / "no\x1b[31m") == f"{tmp_path}/no\\x1b[31m: folder not found; give an existing image folder"


def test_lines_of_folders(draw, tmp_path):
    root = tmp_path / "data" / "train"
    root.mkdir(parents=True)
    assert refused(root) == f"{root}: no class folders; expected {root}/<class>/<image>"
    draw.folder(root, n=5, classes=("cat",))
    assert refused(root) == f"{root}: only one class 'cat'; classification needs at least 2"
    draw.folder(root, n=5)
    for data, line in (
        (b"", "file is empty (0 bytes); remove it"),
        (b"%PDF-1.7 ...", "not an image (starts with '%PDF-1.7'); remove it"),
        (draw.encoded(draw.noise(), "JPEG")[:-200], "image is truncated ("),
    ):
        (root / "cat" / "x.jpg").write_bytes(data)
        assert refused(root).startswith(f"{root}/cat/x.jpg: {line}")
    (root / "cat" / "x.jpg").unlink()
    os.mkfifo(root / "cat" / "x.jpg")
    assert refused(root) == f"{root}/cat/x.jpg: not a regular file (FIFO); remove it"


def test_bombs_and_their_limit(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=5)
    (root / "cat" / "x.png").write_bytes(draw.encoded(draw.noise(0, 20, 50)))
    line = f"{root}/cat/x.png: 50x20 = 0.001 MP exceeds 0.0005 MP; resize it or raise --max-pixels"
    assert refused(root, max_pixels=500) == line


def test_a_class_of_which_nothing_is_left(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=20)
    shutil.rmtree(root / "dog")
    (root / "dog").mkdir()
    (root / "dog" / "x.png").write_bytes(b"")
    line = f"{root}: class 'dog' has no readable image; replace them or remove the class"
    assert refused(root, skip_bad=0.5) == line


def test_classes_that_are_all_empty(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    assert refused(tmp_path, allow_empty_class=True) == f"{tmp_path}: no pictures; add some"


def counts(pictures):
    return {name: len(index) for name, index in pictures.split.items()}


def test_too_few_to_divide_are_all_trained_on_and_it_is_said(draw, tmp_path):
    pictures = read(draw.folder(tmp_path / "d", n=1))
    assert counts(pictures) == {"train": 2, "valid": 0, "test": 0}
    said = [note["what"] for note in pictures.notes if note["level"] == "warn"]
    assert said == ["2 pictures are too few to divide, none is left for test; add pictures or name them with --test"]
    assert complete(read(draw.folder(tmp_path / "e", n=3)))


def test_below_500_pictures_none_are_set_aside_for_valid_unless_asked_for(draw, tmp_path):
    few, enough = draw.folder(tmp_path / "few", n=249), draw.folder(tmp_path / "enough", n=250)
    assert counts(read(few)) == {"train": 398, "valid": 0, "test": 100}
    assert counts(read(enough)) == {"train": 360, "valid": 40, "test": 100}
    assert counts(read(few, valid=0.1)) == {"train": 358, "valid": 40, "test": 100}


def test_a_share_of_zero_is_none(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=250)
    assert counts(read(root, valid=0.0)) == {"train": 400, "valid": 0, "test": 100}
    assert counts(read(root, test=0.0)) == {"train": 450, "valid": 50, "test": 0}
    assert not read(root, valid=0.0, test=0.0).notes
    given = read(draw.folder(tmp_path / "e", n=3, parts=("train", "test")), test=0.0)
    assert counts(given) == {"train": 6, "valid": 0, "test": 0}
    assert "the given test part (6 pictures) is not used: --test 0" in [note["what"] for note in given.notes]


def test_shares_that_are_none(draw, tmp_path):
    root = draw.folder(tmp_path / "d")
    for option in ("valid", "test"):
        for value in (-0.1, 1.0, 1.5):
            assert refused(root, **{option: value}).startswith(f"--{option} {value:g}: must be a share")


def test_known_classes_for_a_model_that_is_there(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=3, parts=("train", "test"))
    pictures = read_known(root, classes=("dog", "cow", "cat"), size=(6, 4), channels=1)
    assert (pictures.pixels.shape, pictures.labels.tolist()) == ((6, 6, 4, 1), [2] * 3 + [0] * 3)
    assert pictures.split["test"].tolist() == list(range(6))
    assert pictures.classes == ("dog", "cow", "cat")
    one = read_known(draw.folder(tmp_path / "e", n=3, classes=("cow",)), classes=("dog", "cow"), size=4, channels=3)
    assert one.labels.tolist() == [1] * 3
    with pytest.raises(InputTrouble, match="class 'cat' is not in train"):
        read_known(root, classes=("dog", "cow"), size=4, channels=3)


def test_files_and_folders_without_labels(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=2)
    single = tmp_path / "x.jpg"
    single.write_bytes(draw.encoded(draw.noise(0, 30, 30, 1), "JPEG"))
    pixels, names = read_files([single, root], (12, 10), 3)
    assert (pixels.shape, pixels.dtype) == ((5, 12, 10, 3), np.uint8)
    assert names == [str(single), *(f"{root}/{c}/{i}.png" for c in ("cat", "dog") for i in range(2))]
    assert (pixels[1] == draw.noise(1)).all()
    assert read_files([single], 8, 1)[0].shape == (1, 8, 8, 1)


def test_lines_of_files_without_labels(draw, tmp_path):
    os.mkfifo(tmp_path / "p")
    (tmp_path / "x.png").write_bytes(b"hello world")
    (tmp_path / "dir").mkdir()
    for paths, line in (
        ([tmp_path / "no.png"], f"{tmp_path}/no.png: file not found; give an existing picture or folder"),
        ([tmp_path / "p"], f"{tmp_path}/p: not a regular file (FIFO); remove it"),
        ([tmp_path / "x.png"], f"{tmp_path}/x.png: not an image (starts with 'hello wo'); remove it"),
        ([tmp_path / "dir"], f"{tmp_path}/dir: no pictures; give picture files or folders"),
        ([], "no path: no pictures; give picture files or folders"),
    ):
        with pytest.raises(InputTrouble) as caught:
            read_files(paths, 8, 3)
        assert str(caught.value) == line


def test_reading_imports_no_torch():
    code = "import sys; from gradlearn.data.images import read; read(None); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not here")
def test_fashion_mnist():
    pictures = read(SHARED / "fashion-mnist")
    assert (pictures.kind, pictures.pixels.shape) == ("idx", (70_000, 28, 28, 1))
    assert {name: len(index) for name, index in pictures.split.items()} == {"train": 57_500, "valid": 2_500, "test": 10_000}
    assert set(np.bincount(pictures.labels[pictures.split["valid"]])) == {250}
    assert abs(pictures.pixels.mean() - 72.97) < 0.1
