"""The door: the same boxes whatever the form, parts, links, sizes, EXIF; and lines about what is no data with boxes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradlearn.data.boxes.read import rarest, read, read_given
from gradlearn.data.decode import decode


def corners(boxes):
    return [list(map(float, row[1:])) for name in sorted(boxes) for row in boxes[name]]


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_the_same_boxes_whatever_the_form(make, tmp_path, kind):
    boxed = read(getattr(make, kind)(tmp_path / "d"))
    assert boxed.kind == kind
    assert boxed.classes == ("cat", "dog")
    assert [name.rpartition("/")[2] for name in boxed.files] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert all(decode(Path(boxed.path(i)).read_bytes(), None, None).shape == (30, 40, 3) for i in range(4))
    assert boxed.sizes.tolist() == [[30, 40]] * 4
    assert boxed.boxes.tolist() == corners(make.boxes)
    assert boxed.labels.tolist() == [0, 1, 1, 0, 0, 1]
    assert boxed.first.tolist() == [0, 2, 3, 5, 6]
    assert {name: rows.tolist() for name, rows in boxed.split.items()} == {"train": [0, 1], "valid": [2], "test": [3]}
    assert (boxed.boxes.dtype, boxed.labels.dtype, boxed.first.dtype) == (np.float32, np.int32, np.int64)
    ids = {"coco": [7, 14]}.get(kind, [1, 2])
    assert boxed.category_ids.tolist() == ids
    end = "2 classes, 6 boxes in 4 pictures; 2 train, 1 valid, 1 test"
    assert boxed.summary == {"voc": "Pascal VOC: ", "coco": "COCO: ", "yolo": "YOLO: "}[kind] + end


def test_shares_are_by_the_rarest_class_and_the_same_for_a_seed(make, tmp_path):
    boxes = {f"p{i:02d}": [("cat", 1, 1, 9, 9)] * 2 + [("dog", 2, 2, 20, 20)] * (i % 5 == 0) for i in range(40)}
    root = make.voc(tmp_path / "d", boxes, parts=None)
    boxed = read(root, seed=3)
    again, other = read(root, seed=3), read(root, seed=4)
    assert [len(boxed.split[name]) for name in ("train", "valid", "test")] == [29, 3, 8]
    assert sorted(np.concatenate(list(boxed.split.values())).tolist()) == list(range(40))
    for rows in boxed.split.values():
        assert (boxed.labels[boxed.rows(rows)] == 1).any()
    assert all((boxed.split[k] == again.split[k]).all() for k in boxed.split)
    assert any((boxed.split[k] != other.split[k]).any() for k in boxed.split)
    assert list(read_given(root).split) == ["train"]
    assert [len(read(root, valid=0.5, test=0.25).split[k]) for k in ("train", "valid", "test")] == [15, 15, 10]


def test_trainval_is_used_where_a_share_of_it_is_asked_for(make, tmp_path):
    boxes = {f"p{i}": [("cat", 1, 1, 9, 9)] for i in range(12)}
    names = list(boxes)
    parts = {"train": names[:6], "val": names[6:9], "trainval": names[:9], "test": names[9:]}
    root = make.voc(tmp_path / "d", boxes, parts)
    assert [len(rows) for rows in read(root).split.values()] == [6, 3, 3]
    assert "trainval (9) is used with --valid SHARE" in read(root).notes[0]["what"]
    assert [len(rows) for rows in read(root, valid=0.2).split.values()] == [7, 2, 3]


def test_a_part_from_another_place(make, tmp_path):
    root, other = make.voc(tmp_path / "d"), make.voc(tmp_path / "e", {"x": [("dog", 1, 1, 5, 5)]}, parts=None)
    boxed = read(root, test=other)
    assert boxed.files[-1] == str(other / "JPEGImages" / "x.jpg")
    assert boxed.labels[boxed.rows(boxed.split["test"])].tolist() == [1]
    assert [len(rows) for rows in boxed.split.values()] == [2, 1, 1]
    foreign = make.voc(tmp_path / "f", {"x": [("dgo", 1, 1, 5, 5)]}, parts=None)
    line = f"{foreign}: class 'dgo' is not in train; did you mean 'dog'?; add it to train or remove it"
    assert make.refused(read, root, test=foreign) == line
    mixed = make.refused(read, root, test=make.yolo(tmp_path / "g"))
    assert mixed == f"{root}: voc and yolo cannot be mixed; convert one of them first: gradlearn convert"


def test_lines_about_what_is_no_data_with_boxes(make, tmp_path):
    assert make.refused(read, tmp_path / "no") == f"{tmp_path}/no: not found; give a folder or file with boxes"
    assert (
        make.refused(read, tmp_path)
        == f"{tmp_path}: no boxes found; expected Annotations/*.xml, annotations/*.json or labels/*.txt"
    )
    make.picture(tmp_path / "x.jpg")
    line = f"{tmp_path}/x.jpg: no data with boxes; give a VOC or YOLO folder, a data.yaml or a COCO JSON file"
    assert make.refused(read, tmp_path / "x.jpg") == line
    make.voc(tmp_path / "d")
    (tmp_path / "d" / "data.yaml").write_text("names: [a]")
    assert make.refused(read, tmp_path / "d").startswith(f"{tmp_path}/d: looks like VOC and YOLO at once; give the file")
    make.voc(tmp_path / "e", {"a": [], "b": []}, parts=None)
    assert make.refused(read, tmp_path / "e") == f"{tmp_path}/e: no boxes; a detector learns from boxes"
    make.voc(tmp_path / "f", {"a": [("cat", 1, 1, 9, 9)]}, parts=None)
    line = (
        f"{tmp_path}/f: 1 pictures are too few to divide, none is left for valid; add pictures or name them with --valid and --test"
    )
    assert make.refused(read, tmp_path / "f").startswith(line.partition(",")[0])


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_a_picture_of_another_size_than_declared_is_refused(make, tmp_path, kind):
    root = getattr(make, kind)(tmp_path / "d")
    (path,) = (tmp_path / "d").rglob("a.jpg")
    make.picture(path, 80, 60)
    name = "JPEGImages/a.jpg" if kind == "voc" else "images/train/a.jpg"
    sheet = "Annotations/a.xml" if kind == "voc" else "annotations/instances_train.json"
    line = f"{root}/{sheet}: image '{name}' is 80x60, declared 40x30; fix the size, or annotate this picture"
    assert make.refused(read, root) == line
    boxed = read(root, skip_bad=0.3)
    assert boxed.boxes.tolist() == corners(make.boxes)[2:]
    assert "1 of 4 images unreadable and left out (25 %)" in [row["what"] for row in boxed.notes]


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_boxes_drawn_on_the_stored_picture_are_turned_with_it(make, tmp_path, turn):
    root = make.voc(tmp_path / "d", {"a": [("cat", 8, 8, 24, 16)]}, parts=None)
    pixels = np.zeros((30, 40), np.uint8)
    pixels[8:16, 8:24] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    path = root / "JPEGImages" / "a.jpg"
    Image.fromarray(pixels).save(path, exif=exif)
    boxed = read_given(root)
    x1, y1, x2, y2 = boxed.boxes[0].astype(int).tolist()
    shown = decode(path.read_bytes(), None, None)[:, :, 0] > 127
    assert boxed.sizes.tolist() == [[40, 30]]
    assert shown[y1:y2, x1:x2].all()
    assert shown.sum() == (y2 - y1) * (x2 - x1) == 128
    assert boxed.notes[0]["what"] == "boxes of 1 pictures were drawn before EXIF turned them, and are turned with them"
    (root / "Annotations" / "a.xml").write_text(make.sheet([("cat", 8, 8, 24, 16)], 30, 40))
    boxed = read_given(root)
    assert boxed.boxes.tolist() == [[8, 8, 24, 16]]
    assert boxed.notes[0]["what"] == "1 pictures are turned by EXIF; their boxes are taken as drawn on what is shown"


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_the_fingerprint_is_of_contents_not_of_places(make, tmp_path, kind):
    root = getattr(make, kind)(tmp_path / "d")
    before = read(root).fingerprint
    shutil.move(root, tmp_path / "e")
    os.utime(next((tmp_path / "e").rglob("a.jpg")))
    assert read(tmp_path / "e").fingerprint == before
    make.picture(next((tmp_path / "e").rglob("a.jpg")), seed=99)
    changed = read(tmp_path / "e").fingerprint
    assert changed != before
    if kind == "voc":
        (tmp_path / "e" / "Annotations" / "b.xml").write_text(make.sheet([("cat", 0, 0, 20, 10)]))
    elif kind == "yolo":
        (tmp_path / "e" / "labels" / "train" / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    else:
        path = tmp_path / "e" / "annotations" / "instances_train.json"
        path.write_text(path.read_text().replace('"category_id": 7', '"category_id": 14', 1))
    assert read(tmp_path / "e").fingerprint not in (before, changed)


def test_cut_off_pictures_are_known_before_training(make, tmp_path):
    root = make.voc(tmp_path / "d")
    path = root / "JPEGImages" / "c.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    assert make.refused(read, root).startswith(f"{root}/JPEGImages/c.jpg: image is truncated (")
    path.write_bytes(b"%PDF-1.7 and more")
    assert make.refused(read, root) == f"{root}/JPEGImages/c.jpg: not an image (starts with '%PDF-1.7'); remove it"


def test_links_stay_inside(make, tmp_path):
    root = make.one_coco(tmp_path / "d")
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(tmp_path / "d" / "images" / "a.jpg", away / "a.jpg")
    (tmp_path / "d" / "images" / "a.jpg").symlink_to(away / "a.jpg")
    line = f"{root}: image 'a.jpg': link leaves the data root; pass --follow-links-to DIR to allow it"
    assert make.refused(read_given, root) == line
    boxed = read_given(root, follow_links_to=away)
    assert boxed.files[0] == str(away / "a.jpg")
    os.remove(tmp_path / "d" / "images" / "a.jpg")
    os.mkfifo(tmp_path / "d" / "images" / "a.jpg")
    assert make.refused(read_given, root) == f"{root}: image 'a.jpg': not a regular file (FIFO); remove it"


def test_pictures_elsewhere(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    shutil.move(tmp_path / "d" / "images", tmp_path / "pictures")
    assert make.refused(read_given, path) == f"{path}: image 'a.jpg' not found under {tmp_path}/d/; check --images"
    assert read_given(path, images=tmp_path / "pictures").path(0) == str(tmp_path / "pictures" / "a.jpg")
    assert make.refused(read, path, images=tmp_path / "no") == f"{tmp_path}/no: folder not found; check --images"


def test_rarest_is_the_class_with_fewest_boxes_of_all(make, tmp_path):
    from gradlearn.data.boxes.read import find

    boxes = {"a": [("cat", 1, 1, 2, 2), ("dog", 1, 1, 2, 2)], "b": [("cat", 1, 1, 2, 2)], "c": []}
    assert rarest(find(make.voc(tmp_path / "d", boxes, parts=None))).tolist() == [1, 0, 2]
