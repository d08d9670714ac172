"""YOLO folders: data.yaml and without, lists, classes, and each line about what is wrong."""

from __future__ import annotations

import shutil

import pytest

from gradlearn.data.boxes.read import read, read_given
from gradlearn.data.boxes.yolo import labels_of

PLACES = "train: images/train\nval: images/val\ntest: images/test\n"


@pytest.mark.parametrize(
    "config",
    [
        PLACES + "names: [cat, dog]\nnc: 2\n",
        PLACES + "names: {0: cat, 1: dog}\n",
        PLACES + 'path: .\nnames:\n  1: "dog"\n  0: cat\n',
        PLACES.replace("val:", "valid:") + "names: [cat, dog]\npath: /data/somebody/elses\n",
        PLACES.replace("images/train", "[images/train]") + "names: [cat, dog]",
        PLACES.replace(": images", ": ../images") + "names: [cat, dog]",
        PLACES.replace("images/train", "train.txt") + "names: [cat, dog]",
    ],
)
def test_ways_to_say_the_same(make, tmp_path, config):
    root = make.yolo(tmp_path / "d", config=config)
    (root / "train.txt").write_text("./images/train/a.jpg\nimages/train/b.jpg\n\n")
    boxed = read(root)
    assert boxed.files == ["images/train/a.jpg", "images/train/b.jpg", "images/val/c.jpg", "images/test/d.jpg"]
    assert boxed.classes == ("cat", "dog")
    assert [len(rows) for rows in boxed.split.values()] == [2, 1, 1]
    assert read(root / "data.yaml").fingerprint == boxed.fingerprint


def test_without_a_data_yaml(make, tmp_path):
    root = make.yolo(tmp_path / "d")
    (root / "data.yaml").unlink()
    boxed = read(root)
    assert boxed.classes == ("0", "1")
    assert [len(rows) for rows in boxed.split.values()] == [2, 1, 1]
    (root / "classes.txt").write_text("cat\ndog\n")
    assert read(root).classes == ("cat", "dog")
    for part in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (tmp_path / "e" / part).mkdir(parents=True, exist_ok=True)
            shutil.copytree(root / kind / part, tmp_path / "e" / part / kind)
    assert (read(tmp_path / "e").boxes == boxed.boxes).all()
    shutil.copytree(root / "images" / "train", tmp_path / "f" / "images")
    shutil.copytree(root / "labels" / "train", tmp_path / "f" / "labels")
    assert read_given(tmp_path / "f").files == ["images/a.jpg", "images/b.jpg"]


def test_a_picture_without_labels_has_no_boxes(make, tmp_path):
    root = make.yolo(tmp_path / "d")
    (root / "labels" / "train" / "a.txt").unlink()
    (root / "labels" / "val" / "c.txt").write_text("")
    boxed = read(root)
    assert boxed.first.tolist() == [0, 0, 1, 1, 2]
    assert "2 of 4 pictures have no boxes: all of them is background" in [row["what"] for row in boxed.notes]


def test_where_labels_are():
    assert labels_of("images/train/a.b.jpg") == "labels/train/a.b.txt"
    assert labels_of("images/images/x.jpg") == "images/labels/x.txt"
    assert labels_of("a.jpg") == "a.txt"
    assert labels_of("images.jpg") == "images.txt"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("12 0.5 0.5 0.1 0.1", "class 12 outside 0..1; fix it or data.yaml"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 outside 0..1; fix it or data.yaml"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is not a whole number; fix it"),
        ("nan 0.5 0.5 0.1 0.1", "class nan is not a whole number; fix it"),
        ("0 0.5 0.5 0.1", "4 numbers, expected 5; class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers, expected 5; class cx cy w h"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", "7 numbers, expected 5 (an outline? boxes are expected); class cx cy w h"),
        ("0 0.5 0.5 0.1 x", "'x' is not a number; class cx cy w h"),
        ("0 0.5 0.5 0.1 1_0", "'1_0' is not a number; class cx cy w h"),
    ],
)
def test_lines_about_labels(make, tmp_path, text, line):
    root = make.yolo(tmp_path / "d")
    (root / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n" + text)
    assert make.refused(read, root) == f"{root}/labels/train/a.txt:2: {line}"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("download: bash -c 'touch x'\n" + PLACES + "names: [cat, dog]", ": key 'download' is never executed; remove it"),
        (PLACES + "names: [cat, dog]\nnc: 3", ": nc is 3, names has 2; make them agree"),
        (PLACES + "names: {1: cat, 2: dog}", ": the keys of names are not 0, 1, ... 1; number the classes from 0"),
        (PLACES + "names: [cat, cat]", ": class 'cat' appears twice; names must be unique"),
        (PLACES, ": no names; give the class names as a list"),
        (PLACES + "nc: -3", ": no names; give the class names as a list"),
        ("names: [cat, dog]", ": no 'train'; say where the training pictures are"),
        ("train: 5\nnames: [cat, dog]", ": train is 5; give a folder, a text file or a list of them"),
        ("train: images/no\nnames: [cat, dog]", ": 'images/no' not found under {root}/; fix the path"),
        ("train: /etc\nnames: [cat, dog]", ": '/etc' leaves the folder of the data; pass --follow-links-to DIR to allow it"),
        ("train: ../../x\nnames: [cat, dog]", ": '../../x' leaves the folder of the data; pass --follow-links-to DIR to allow it"),
        (
            "path: /etc\n" + PLACES + "names: [a]",
            ": path '/etc' leaves the folder of the file; pass --follow-links-to DIR to allow it",
        ),
        ("train: a.txt\nnames: [cat, dog]", "a.txt:1: image file name '../x.jpg' leaves the images folder; refused"),
        ("train: b.txt\nnames: [cat, dog]", "b.txt:1: image 'no.jpg' not found; fix the list"),
    ],
)
def test_lines_about_data_yaml(make, tmp_path, config, line):
    root = make.yolo(tmp_path / "d", config=config)
    (root / "a.txt").write_text("../x.jpg\n")
    (root / "b.txt").write_text("no.jpg\nimages/train/a.jpg\n")
    where = root if line[0] != ":" else f"{root}/data.yaml"
    assert make.refused(read, root).startswith(f"{where}/{line}".replace("/:", ":").format(root=root))


def test_no_labels_at_all(make, tmp_path):
    root = make.yolo(tmp_path / "d")
    shutil.rmtree(root / "labels")
    assert make.refused(read, root) == f"{root}: no label files; expected labels/<name>.txt for images/<name>.jpg"
    (root / "other.yaml").write_text(PLACES)
    (root / "data.yaml").rename(root / "some.yaml")
    (root / "labels").mkdir()
    assert make.refused(read, root) == f"{root}: 'other.yaml' and 'some.yaml'; give the one that is meant"


def test_a_data_set_elsewhere_is_read_where_that_is_allowed(make, tmp_path):
    root = make.yolo(tmp_path / "away")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "data.yaml").write_text(f"path: {root}\n{PLACES}names: [cat, dog]\n")
    assert "leaves the folder" in make.refused(read, tmp_path / "d")
    assert read(tmp_path / "d", follow_links_to=root).root == str(root)
