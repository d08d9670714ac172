"""Conversion: each form into each and back, whole or not at all, and what it says is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gradlearn.cli import run
from gradlearn.data.boxes import convert as module
from gradlearn.data.boxes.check import corners
from gradlearn.data.boxes.convert import convert, named
from gradlearn.data.boxes.read import read_given
from gradlearn.data.boxes.write import shares, shortest, sides
from gradlearn.errors import ResourceTrouble

KINDS = ("voc", "coco", "yolo")


def same(one, other) -> None:
    assert one.classes == other.classes
    assert {k: v.tolist() for k, v in one.split.items()} == {k: v.tolist() for k, v in other.split.items()}
    assert (one.first == other.first).all()
    assert (one.labels == other.labels).all()
    assert (one.sizes == other.sizes).all()
    np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=1e-5)
    for i in range(len(one)):
        assert Path(one.path(i)).read_bytes() == Path(other.path(i)).read_bytes()


@pytest.mark.parametrize("start", KINDS)
@pytest.mark.parametrize("to", KINDS)
def test_there_and_back(make, tmp_path, start, to):
    root = getattr(make, start)(tmp_path / "d")
    boxed = read_given(root)
    assert convert(root, tmp_path / "e", to).boxed.fingerprint == boxed.fingerprint
    convert(tmp_path / "e", tmp_path / "f", start)
    there, back = read_given(tmp_path / "e"), read_given(tmp_path / "f")
    assert (there.kind, back.kind) == (to, start)
    same(boxed, there)
    same(boxed, back)
    if start != "yolo":
        assert (boxed.boxes == back.boxes).all()
    if start == "voc":
        assert back.fingerprint == boxed.fingerprint
    if start == to == "coco":
        assert (boxed.category_ids == back.category_ids).all()
        assert (boxed.image_ids == back.image_ids).all()


def test_undivided_data_stay_undivided_and_class_order_is_kept(make, tmp_path):
    path = make.one_coco(
        tmp_path / "d", categories=[{"id": 14, "name": "zebra"}, {"id": 7, "name": "ant"}, {"id": 1, "name": "ox"}]
    )
    before = path
    for i, to in enumerate(("voc", "yolo", "coco")):
        convert(before, tmp_path / str(i), to)
        before = tmp_path / str(i)
        boxed = read_given(before)
        assert boxed.classes == ("zebra", "ant", "ox")
        assert list(boxed.split) == ["train"]
        same(read_given(path), boxed)


def test_hard_boxes_are_kept_or_left_out_and_that_is_said(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    said = json.loads(path.read_text())
    said["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(said))
    voc = convert(path, tmp_path / "voc", "voc")
    assert voc.said[0] == "1 boxes that are iscrowd are difficult now"
    assert read_given(tmp_path / "voc").hard.tolist() == [True] + [False] * 5
    yolo = convert(tmp_path / "voc", tmp_path / "yolo", "yolo")
    assert yolo.said[0] == "1 boxes that are difficult or crowds are left out: YOLO has no word for them"
    assert read_given(tmp_path / "yolo").boxes.tolist() == read_given(path).boxes[1:].tolist()


box = arrays.arrays(np.float32, (5, 4), elements=st.floats(0, 5000, width=32)).map(
    lambda b: np.concatenate([np.minimum(b[:, :2], b[:, 2:]), np.maximum(b[:, :2], b[:, 2:])], axis=1)
)


@settings(deadline=None)
@given(box)
def test_numbers_are_short_and_give_the_same_corners_back(boxes):
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    found = corners("coco", sides(boxes), np.ones(len(boxes)), np.ones(len(boxes))).astype(np.float32)
    assert (found == boxes).all()
    texts = [[float(shortest(v)) for v in row] for row in boxes]
    assert (np.array(texts, np.float32).reshape(-1, 4) == boxes).all()
    found = corners("yolo", shares(boxes, 5000, 4000), np.full(len(boxes), 5000.0), np.full(len(boxes), 4000.0))
    np.testing.assert_allclose(found, boxes, rtol=1e-6, atol=1e-9)


def test_round_numbers_stay_round():
    boxes = np.array([[0.1, 2, 10.35, 12.7], [100, 7, 640, 480], [12.34, 5.67, 100.01, 9.99]], np.float32)
    assert sides(boxes).tolist() == [[0.1, 2, 10.25, 10.7], [100, 7, 540, 473], [12.34, 5.67, 87.67, 4.32]]
    assert shares(boxes[1:2], 640, 480).tolist() == [[0.578125, 0.5072916667, 0.84375, 0.9854166667]]
    assert [shortest(v) for v in boxes[0]] == ["0.1", "2", "10.35", "12.7"]


def test_links_share_the_file(make, tmp_path):
    root = make.voc(tmp_path / "d")
    convert(root, tmp_path / "e", "yolo", link=True)
    assert os.path.samefile(root / "JPEGImages" / "a.jpg", tmp_path / "e" / "images" / "train" / "a.jpg")
    convert(root, tmp_path / "f", "yolo")
    assert not os.path.samefile(root / "JPEGImages" / "a.jpg", tmp_path / "f" / "images" / "train" / "a.jpg")


@pytest.mark.parametrize("fail", ["copy", "writer", "rename"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_out_is_whole_or_not_there(make, tmp_path, monkeypatch, fail, error):
    root = make.voc(tmp_path / "d")

    def broken(*_, **__):
        raise error

    if fail == "copy":
        monkeypatch.setattr(shutil, "copyfileobj", broken)
    elif fail == "writer":
        monkeypatch.setitem(module.WRITERS, "coco", broken)
    else:
        monkeypatch.setattr(os, "rename", broken)
    with pytest.raises((ResourceTrouble, KeyboardInterrupt)) as caught:
        convert(root, tmp_path / "e", "coco")
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path}/e: write failed: No space left on device; free space"
    assert os.listdir(tmp_path) == ["d"]


def test_lines_about_out(make, tmp_path):
    root = make.voc(tmp_path / "d")
    assert make.refused(convert, root, root, "coco") == f"{root}: exists; choose another name"
    (tmp_path / "link").symlink_to("nowhere")
    assert make.refused(convert, root, tmp_path / "link", "coco") == f"{tmp_path}/link: exists; choose another name"
    line = f"{tmp_path}/no: folder not found; make it first"
    assert make.refused(convert, root, tmp_path / "no" / "e", "coco") == line
    assert make.refused(convert, root, tmp_path / "e", "cocoa") == "--to cocoa: no such form; did you mean 'coco'?"
    assert sorted(os.listdir(tmp_path)) == ["d", "link"]


def test_pictures_of_one_name_get_two(tmp_path):
    files = ["x/a.jpg", "y/a.png", "z/y/a.jpg", "A.jpg", "noend"]
    split = {"train": np.arange(3), "test": np.array([3, 4])}
    boxed = SimpleNamespace(files=files, split=split)
    assert named(boxed, "voc") == {"train": ["a.jpg", "y_a.png", "z_y_a.jpg"], "test": ["A_2.jpg", "noend.img"]}
    assert named(boxed, "coco") == {"train": ["a.jpg", "y_a.png", "z_y_a.jpg"], "test": ["A.jpg", "noend.img"]}


def test_the_command(make, tmp_path, capsys):
    root = make.voc(tmp_path / "d")
    assert run(["convert", str(root), str(tmp_path / "e"), "--to", "coco"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Pascal VOC: 2 classes, 6 boxes in 4 pictures; 2 train, 1 valid, 1 test"
    assert said[-1] == f"coco  {tmp_path}/e"
    assert run(["convert", str(root), str(tmp_path / "f"), "--to", "yolo", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["boxes"], document["parts"]) == (6, {"train": 2, "valid": 1, "test": 1})
    assert run(["convert", str(root), str(tmp_path / "f"), "--to", "yolo"]) == 2
    assert capsys.readouterr().err == f"gradlearn: error: {tmp_path}/f: exists; choose another name\n"
