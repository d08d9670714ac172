"""Each fault of a box has its line; few are left out, many are refused; what reaches out can be cut."""

from __future__ import annotations

import numpy as np
import pytest

from gradlearn.data.boxes.read import read_given

SOUND = [("cat", 1, 1, 9, 9)]


def with_voc(make, root, box):
    return make.voc(root, {"a": [("cat", *box)], "b": SOUND}, parts=None), "Annotations/a.xml:4"


def with_coco(make, root, box):
    document = make.document({"a": SOUND, "b": SOUND, "c": [], "d": []})
    document["annotations"][0]["bbox"] = list(box)
    return make.one_coco(root, annotations=document["annotations"]), "coco.json: annotation 1"


def with_yolo(make, root, box):
    make.yolo(root, {"train": ["b"]})
    make.picture(root / "images" / "train" / "a.jpg")
    (root / "labels" / "train" / "a.txt").write_text("\n0 " + " ".join(map(repr, box)) + "\n")
    return root, "labels/train/a.txt:2"


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("made", "box", "line"),
    [
        (with_voc, (30, 5, 10, 9), "xmax 10 < xmin 30; fix the box"),
        (with_voc, (5, 20, 10, 9), "ymax 9 < ymin 20; fix the box"),
        (with_voc, (5, 9, 10, 9), "ymax 9 = ymin 9; fix the box"),
        (with_voc, (-3, 5, 10, 9), "box [-3, 5, 10, 9] starts left of the image; fix or pass --clip-boxes"),
        (with_voc, (3, -5, 10, 9), "box [3, -5, 10, 9] starts above the image; fix or pass --clip-boxes"),
        (with_voc, (3, 5, 41, 9), "box [3, 5, 41, 9] ends right of the image of 40x30; fix or pass --clip-boxes"),
        (with_voc, (3, 5, 20, 99), "box [3, 5, 20, 99] ends below the image of 40x30; fix or pass --clip-boxes"),
        (with_voc, (50, 5, 60, 9), "box [50, 5, 60, 9] ends right of the image of 40x30; fix the box"),
        (with_voc, (nan, 5, 60, 9), "box [nan, 5, 60, 9] is not finite; fix the box"),
        (with_voc, (1, 5, inf, 9), "box [1, 5, inf, 9] is not finite; fix the box"),
        (with_voc, (5, 5, 5 + 1e-9, 9), "box [5, 5, 5.000000001, 9] has no area; fix the box"),
        (with_coco, (-3.0, 5.0, 10.0, 4.0), "box [-3.0, 5.0, 10.0, 4.0] starts left of the image; fix or pass --clip-boxes"),
        (with_coco, (3, 5, -4.0, 4), "width -4.0 is not positive; fix the box"),
        (with_coco, (3, 5, 4.25, 0), "height 0.0 is not positive; fix the box"),
        (with_coco, (3, 5, 4.25, nan), "box [3.0, 5.0, 4.25, nan] is not finite; fix the box"),
        (
            with_coco,
            (3, 5, 1e308, 1e308),
            "box [3.0, 5.0, 1e+308, 1e+308] ends right of the image of 40x30; fix or pass --clip-boxes",
        ),
        (with_yolo, (1.73, 0.5, 0.1, 0.1), "cx=1.73 outside 0..1; YOLO boxes are relative"),
        (with_yolo, (0.5, -0.2, 0.1, 0.1), "cy=-0.2 outside 0..1; YOLO boxes are relative"),
        (with_yolo, (12.0, 8.0, 20.0, 6.0), "cx=12 outside 0..1; YOLO boxes are relative"),
        (with_yolo, (0.5, 0.5, 0.1, -0.1), "h=-0.1 is not positive; fix the box"),
        (with_yolo, (0.9, 0.5, 0.5, 0.1), "box [0.9, 0.5, 0.5, 0.1] ends right of the image of 40x30; fix or pass --clip-boxes"),
        (with_yolo, (nan, 0.5, 0.5, 0.1), "box [nan, 0.5, 0.5, 0.1] is not finite; fix the box"),
    ],
)
def test_each_fault_has_its_line(make, tmp_path, made, box, line):
    path, place = made(make, tmp_path / "d", box)
    assert make.refused(read_given, path) == f"{tmp_path}/d/{place}: {line}"
    if "--clip-boxes" in line:
        boxed = read_given(path, clip_boxes=True)
        h, w = boxed.sizes[0].tolist()
        first = boxed.boxes[0]
        assert (first >= 0).all()
        assert first[2] <= w
        assert first[3] <= h
        assert any(row["what"].startswith("1 boxes reached out of their pictures and were cut") for row in boxed.notes)
    else:
        assert make.refused(read_given, path, clip_boxes=True) == f"{tmp_path}/d/{place}: {line}"


def test_rounding_is_no_fault(make, tmp_path):
    root = make.voc(tmp_path / "d", {"a": [("cat", -0.4, 2, 40.5, 30.1)]}, parts=None)
    boxed = read_given(root)
    assert boxed.boxes.tolist() == [[0, 2, 40, 30]]
    assert boxed.notes[0]["what"] == "1 boxes were up to 0.5 pixels out of their pictures, and were cut to them"


def test_fewer_than_one_in_a_hundred_are_left_out_and_more_are_refused(make, tmp_path):
    good = [("cat", 1, 1, 9, 9 + 0.001 * i) for i in range(200)]
    bad = [("cat", 9, 1, 9, 9), ("dog", 5, 9, 9, 2), ("dog", 5, 9, 60, 12)]
    boxes = {"a": good[:100] + bad[:1], "b": good[100:] + bad[1:]}
    root = make.voc(tmp_path / "d", {**boxes, "a": good[:100] + bad[:1], "b": good[100:]}, parts=None)
    boxed = read_given(root)
    assert len(boxed.boxes) == 200
    assert boxed.notes[0]["what"] == "1 of 201 boxes are faulty (0.5 %) and left out"
    assert boxed.notes[0]["examples"] == [f"{root}/Annotations/a.xml:204: xmax 9 = xmin 9"]
    root = make.voc(tmp_path / "e", boxes, parts=None)
    others = f"{root}/Annotations/b.xml:204: ymax 2 < ymin 9, {root}/Annotations/b.xml:206: box [5, 9, 60, 12] ends right of"
    line = f"{root}/Annotations/a.xml:204: xmax 9 = xmin 9; 3 of 203 boxes are faulty (1.5 %), also {others} the image of 40x30; "
    assert make.refused(read_given, root) == line + "fix them, pass --clip-boxes or pass --skip-bad 2%"
    assert len(read_given(root, skip_bad=0.02).boxes) == 200
    assert np.count_nonzero(read_given(root, clip_boxes=True).boxes[:, 2] == 40) == 1
