"""VOC folders: where pictures and lists are, classes, names, and each line about what is wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gradlearn.data.boxes.read import read, read_given

BCCD = Path(__file__).parents[4] / "shared" / "data" / "bccd"


def test_pictures_beside_their_annotations_in_folders_of_parts(make, tmp_path):
    made = make.voc(tmp_path / "d")
    for part, names in {"train": "ab", "valid": "c", "test": "d"}.items():
        (tmp_path / "e" / part).mkdir(parents=True)
        for name in names:
            shutil.copy(made / "JPEGImages" / f"{name}.jpg", tmp_path / "e" / part)
            shutil.copy(made / "Annotations" / f"{name}.xml", tmp_path / "e" / part)
    one, other = read(made), read(tmp_path / "e")
    assert (one.boxes == other.boxes).all()
    assert other.files == ["train/a.jpg", "train/b.jpg", "valid/c.jpg", "test/d.jpg"]
    assert {k: v.tolist() for k, v in one.split.items()} == {k: v.tolist() for k, v in other.split.items()}
    shutil.rmtree(tmp_path / "e" / "train")
    assert make.refused(read, tmp_path / "e").startswith(f"{tmp_path}/e: no 'train' folder beside '")


def test_classes_are_in_natural_order_or_that_of_labels_txt(make, tmp_path):
    boxes = {"a": [("9", 1, 1, 5, 5), ("10", 1, 1, 5, 5)]}
    root = make.voc(tmp_path / "d", boxes, parts=None)
    assert read_given(root).classes == ("9", "10")
    (root / "labels.txt").write_text("10\n9\n8\n")
    boxed = read_given(root)
    assert (boxed.classes, boxed.labels.tolist()) == (("10", "9", "8"), [1, 0])
    assert boxed.notes[0]["what"] == "1 of 3 classes have no boxes"
    (root / "labels.txt").write_text("10\n8\n")
    assert make.refused(read_given, root).startswith(f"{root}: class '9' is not in labels.txt")
    root = make.voc(tmp_path / "e", {"a": [("Cat", 1, 1, 5, 5), ("cat", 1, 1, 5, 5)]}, parts=None)
    assert make.refused(read_given, root) == f"{root}: names 'Cat' and 'cat' differ only by case; rename one"


def test_difficult_boxes_are_hard(make, tmp_path):
    root = make.voc(tmp_path / "d", {"a": []}, parts=None)
    (root / "Annotations" / "a.xml").write_text(make.sheet([("cat", 1, 1, 5, 5)], extra="<difficult>1</difficult>"))
    assert read_given(root).hard.tolist() == [True]


def test_of_pictures_of_one_name_the_annotation_says_which(make, tmp_path):
    root = make.voc(tmp_path / "d", {"a": [("cat", 1, 1, 5, 5)]}, parts=None)
    shutil.copy(root / "JPEGImages" / "a.jpg", root / "JPEGImages" / "a.png")
    text = (root / "Annotations" / "a.xml").read_text()
    for name in ("a.png", "a.jpg"):
        (root / "Annotations" / "a.xml").write_text(text.replace("<size>", f"<filename>{name}</filename><size>"))
        boxed = read_given(root)
        assert boxed.files == [f"JPEGImages/{name}"]
        assert "1 pictures have no annotation" in boxed.notes[0]["what"]


def test_lists_may_have_flags_and_names_spaces(make, tmp_path):
    root = make.voc(tmp_path / "d", {"a b": [("cat", 1, 1, 5, 5)], "c": [("cat", 1, 1, 5, 5)]}, {"train": ["a b  1", "c -1"]})
    assert read_given(root).files == ["JPEGImages/a b.jpg", "JPEGImages/c.jpg"]


def spoil(make, root, what):
    """One thing that is wrong with picture b."""
    sheet, image = root / "Annotations" / "b.xml", root / "JPEGImages" / "b.jpg"
    text = sheet.read_text()
    if what == "no picture":
        image.unlink()
    elif what == "no sheet":
        sheet.unlink()
    elif what == "fifo":
        image.unlink()
        os.mkfifo(image)
    elif what == "link":
        shutil.move(sheet, root.parent / "away.xml")
        sheet.symlink_to(root.parent / "away.xml")
    else:
        sheet.write_text({"broken": text[:-5], "doctype": "<!DOCTYPE x>" + text}.get(what) or text.replace(*what))


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("no picture", "Annotations/b.xml: image 'b' not found under {root}/JPEGImages/; check --images"),
        ("no sheet", "Annotations/b.xml: annotation not found; add it, or take the name off the lists"),
        ("fifo", "JPEGImages/b.jpg: not a regular file (FIFO); remove it"),
        ("link", "Annotations/b.xml: link leaves the data root; pass --follow-links-to DIR to allow it"),
        ("broken", "Annotations/b.xml: not well-formed XML (unclosed token in line 5, column 1); fix the file"),
        ("doctype", "Annotations/b.xml: DOCTYPE is not allowed in VOC files; remove it"),
        (("<xmin>0</xmin>", ""), "Annotations/b.xml:4: object has no xmin; fix the box"),
        (("<xmin>0<", "<xmin>zero<"), "Annotations/b.xml:4: xmin 'zero' is not a number; fix the box"),
        (("<name>dog</name>", ""), "Annotations/b.xml:4: object has no name; fix the box"),
        (("<xmin>0<", "<xmin>0</xmin><xmin>1<"), "Annotations/b.xml:4: xmin is there twice; fix the box"),
    ],
)
def test_lines_about_what_is_wrong(make, tmp_path, what, line):
    root = make.voc(tmp_path / "d")
    spoil(make, root, what)
    said = make.refused(read, root)
    assert said == f"{root}/{line}".format(root=root)


def test_a_name_that_leaves_the_folder_is_refused(make, tmp_path):
    root = make.voc(tmp_path / "d", parts={"train": ["a", "../../x"], "val": ["c"], "test": ["d"]})
    assert make.refused(read, root) == f"{root}/Annotations/../../x.xml: name '../../x' leaves the folder; refused"


def test_lines_about_folders(make, tmp_path):
    root = make.voc(tmp_path / "d", parts={"test": ["d"]})
    assert make.refused(read, root) == f"{root}: no train.txt in ImageSets/Main; add one"
    shutil.move(root / "JPEGImages", tmp_path / "pictures")
    assert make.refused(read, root) == f"{root}: no JPEGImages or images folder beside Annotations; give it with --images"
    shutil.rmtree(root / "ImageSets")
    assert read_given(root, images=tmp_path / "pictures").path(0) == str(tmp_path / "pictures" / "a.jpg")


@pytest.mark.skipif(not BCCD.is_dir(), reason="the real photographs of ../shared/data are not here")
def test_the_blood_cells():
    boxed = read(BCCD)
    assert boxed.summary == "Pascal VOC: 3 classes, 4,886 boxes in 364 pictures; 205 train, 87 valid, 72 test"
    assert boxed.classes == ("Platelets", "RBC", "WBC")
    left_out = next(row for row in boxed.notes if "faulty" in row["what"])
    assert left_out["what"] == "2 of 4888 boxes are faulty (0.041 %) and left out"
    assert [line.rpartition("/")[2] for line in left_out["examples"]] == [
        "BloodImage_00338.xml:163: xmax 504 = xmin 504",
        "BloodImage_00343.xml:55: xmax 181 = xmin 181",
    ]
