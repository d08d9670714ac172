"""Rows about boxes that can be read: copies, tiny ones, classes without, pictures in two parts; none about sound data."""

from __future__ import annotations

import shutil

from gradlearn.data.boxes.read import read


def whats(boxed) -> list[str]:
    return [f"{row['level']} {row['what']}" for row in boxed.notes]


def test_sound_data_have_no_rows(make, tmp_path):
    boxes = {f"p{i}": [("cat", 1, 1, 9, 9), ("dog", 2, 2, 9, 9)] for i in range(6)}
    root = make.voc(tmp_path / "d", boxes, {"train": ["p0", "p1"], "val": ["p2", "p3"], "test": ["p4", "p5"]})
    assert whats(read(root)) == []


def test_copies_and_tiny_boxes_are_named(make, tmp_path):
    boxes = {**make.boxes, "b": [("dog", 0, 0, 20, 10), ("cat", 0, 0, 20, 10), ("dog", 0, 0, 20, 10)]}
    boxed = read(make.voc(tmp_path / "d", boxes))
    assert "warn 1 boxes are exact copies of others in their pictures" in whats(boxed)
    assert "warn 1 boxes are less than 2 pixels wide or high" in whats(boxed)
    places = {row["what"][2:12]: row["examples"] for row in boxed.notes}
    assert places["boxes are e"[:10]] in ([f"{tmp_path}/d/Annotations/b.xml:8"], [f"{tmp_path}/d/Annotations/d.xml:4"])
    assert len(boxed.boxes) == 8


def test_classes_and_pictures_without_boxes(make, tmp_path):
    boxes = {**make.boxes, "a": [], "b": [("cat", 1, 1, 9, 9)]}
    root = make.voc(tmp_path / "d", boxes)
    (root / "labels.txt").write_text("cat\ndog\ncow\n")
    rows = whats(read(root))
    assert "warn 1 of 3 classes have no boxes" in rows
    assert "warn 1 of 3 classes have no boxes in train" in rows
    assert "info 1 of 4 pictures have no boxes: all of them is background" in rows


def test_uneven_classes(make, tmp_path):
    boxes = {"a": [("cat", 1, 1, 9, 9 + i) for i in range(20)] + [("dog", 1, 1, 9, 9)], "b": make.boxes["c"], "c": make.boxes["d"]}
    rows = whats(read(make.voc(tmp_path / "d", boxes, {"train": ["a"], "val": ["b"], "test": ["c"]})))
    assert "warn classes are uneven: the largest has 20 boxes in train, the smallest 1" in rows
    assert "warn 1 classes have fewer than 10 boxes in train" in rows


def test_a_picture_in_two_parts_is_named_by_name_and_by_content(make, tmp_path):
    root = make.voc(tmp_path / "d", parts={"train": ["a", "b"], "val": ["c"], "test": ["d", "a"]})
    boxed = read(root)
    assert "warn 1 of 2 pictures of test are also in train" in whats(boxed)
    assert [len(rows) for rows in boxed.split.values()] == [2, 1, 2]
    root = make.voc(tmp_path / "e")
    shutil.copy(root / "JPEGImages" / "a.jpg", root / "JPEGImages" / "c.jpg")
    boxed = read(root)
    row = next(row for row in boxed.notes if "are also in train" in row["what"])
    assert row["what"] == "1 of 1 pictures of valid are also in train"
    assert row["examples"] == ["JPEGImages/c.jpg = JPEGImages/a.jpg"]
