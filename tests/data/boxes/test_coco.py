"""COCO files: where pictures are looked for, ids, parts by name, and each line about what is wrong."""

from __future__ import annotations

import json
import shutil

import pytest

from gradlearn.data.boxes.read import read, read_given


def change(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    return path


def test_ids_are_kept_and_annotations_come_in_any_order(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    said = json.loads(path.read_text())
    expected = read_given(path)
    assert expected.image_ids.tolist() == [10, 11, 12, 13]
    path.write_text(
        json.dumps({"annotations": said["annotations"][::-1], "categories": said["categories"], "images": said["images"]})
    )
    boxed = read_given(path)
    assert boxed.first.tolist() == expected.first.tolist()
    for i in range(4):
        assert sorted(boxed.of(i)[0].tolist()) == sorted(expected.of(i)[0].tolist())


def test_crowds_are_hard_and_masks_passed_over(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    said = json.loads(path.read_text())
    said["annotations"][1] |= {"iscrowd": 1, "segmentation": {"counts": [1, 2], "size": [30, 40]}}
    path.write_text(json.dumps(said))
    boxed = read_given(path)
    assert boxed.hard.tolist() == [False, True, False, False, False, False]
    assert boxed.notes[0]["what"] == "1 masks passed over: boxes are learned, not outlines"


@pytest.mark.parametrize("below", ["{}2017", "images/{}2017", "images/{}", "{}", "images"])
def test_pictures_are_found_where_they_usually_are(make, tmp_path, below):
    root = make.coco(tmp_path / "d")
    for part in ("train", "val", "test"):
        (root / "annotations" / f"instances_{part}.json").rename(root / "annotations" / f"instances_{part}2017.json")
        (tmp_path / "e" / below.format(part)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(root / "images" / part, tmp_path / "e" / below.format(part), dirs_exist_ok=True)
    (root / "annotations" / "captions_train2017.json").write_text("[]")
    shutil.move(root / "annotations", tmp_path / "e")
    boxed = read(tmp_path / "e")
    assert [len(rows) for rows in boxed.split.values()] == [2, 1, 1]
    assert boxed.files[0] == f"{below.format('train')}/a.jpg"
    assert read_given(tmp_path / "e" / "annotations" / "instances_val2017.json").files == [f"{below.format('val')}/c.jpg"]


def test_a_file_beside_the_pictures_of_each_part(make, tmp_path):
    root = make.coco(tmp_path / "d")
    for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        shutil.move(root / "images" / part, tmp_path / "e" / name)
        shutil.move(root / "annotations" / f"instances_{part}.json", tmp_path / "e" / name / "_annotations.coco.json")
    boxed = read(tmp_path / "e")
    assert boxed.files == ["train/a.jpg", "train/b.jpg", "valid/c.jpg", "test/d.jpg"]
    shutil.copy(tmp_path / "e" / "test" / "_annotations.coco.json", tmp_path / "e" / "test" / "x.json")
    assert make.refused(read, tmp_path / "e").startswith(f"{tmp_path}/e/test: '_annotations.coco.json' and 'x.json' could both")


def test_classes_of_other_parts_are_found_by_name(make, tmp_path):
    root = make.coco(tmp_path / "d")
    path = root / "annotations" / "instances_val.json"
    said = json.loads(path.read_text())
    change(path, categories=said["categories"][::-1])
    assert read(root).labels.tolist() == [0, 1, 1, 0, 0, 1]
    change(path, categories=[{"id": 7, "name": "cow"}])
    assert make.refused(read, root).startswith(f"{path}: class 'cow' is not in train")


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (("annotations", 0, "category_id"), 91, ": annotation 1: category_id 91 is not in categories; fix it"),
        (("annotations", 0, "category_id"), "7", ": annotation 1: category_id '7' is not a whole number; fix it"),
        (("annotations", 0, "image_id"), 99, ": annotation 1: image_id 99 is not in images; fix it"),
        (("annotations", 0, "image_id"), 1 << 70, ": annotation 1: image_id 1180591620717411303424 is not a whole number; fix it"),
        (("annotations", 0, "bbox"), [1, 2, 3], ": annotation 1: 3 numbers, expected 4 (x y width height); fix the box"),
        (("annotations", 0, "bbox"), [1, 2, "3", 4], ": annotation 1: '3' is not a number; fix the box"),
        (("annotations", 0, "bbox"), [1, None, 3, 4], ": annotation 1: None is not a number; fix the box"),
        (("annotations", 0, "bbox"), [1, 2, True, 4], ": annotation 1: True is not a number; fix the box"),
        (
            ("annotations", 0, "bbox"),
            [1, 2, 10**400, 4],
            ": annotation 1: 1000000000000000000000000000000000000",
        ),
        (("annotations", 0, "bbox"), {}, ": annotation 1: no bbox; add it or remove the annotation"),
        (("annotations", 0), 5, ": annotations[0]: expected an object, got 5; fix the file"),
        (("images", 1, "id"), 10, ": image id 10 appears twice; ids must be unique"),
        (("images", 1, "id"), "x", ": images[1]: id 'x' is not a whole number; fix the file"),
        (("images", 1, "file_name"), None, ": image id 11 has no file_name; fix the file"),
        (("images", 1, "file_name"), "../../etc/passwd", ": image file name '../../etc/passwd' leaves the images folder; refused"),
        (("images", 1, "file_name"), "/etc/passwd", ": image file name '/etc/passwd' leaves the images folder; refused"),
        (("images", 1, "file_name"), "b.png", ": image 'b.png' not found under images/; check --images"),
        (("images", 1, "file_name"), "x" * 300, ": image '" + "x" * 119 + "…': cannot be read (File name too long)"),
        (("categories", 1, "id"), 7, ": category id 7 appears twice; ids must be unique"),
        (("categories", 1, "name"), "cat", ": category name 'cat' appears twice; names must be unique"),
        (("categories", 1, "name"), "", ": categories[1]: category 14 has no name; fix the file"),
        (("categories",), None, ": no 'categories'; expected images, annotations and categories"),
    ],
)
def test_lines_about_what_is_wrong(make, tmp_path, key, value, line):
    path = make.one_coco(tmp_path / "d")
    said = json.loads(path.read_text())
    at = said
    for step in key[:-1]:
        at = at[step]
    at[key[-1]] = value
    if key == ("categories",):
        del said["categories"]
    path.write_text(json.dumps(said))
    assert make.refused(read_given, path).startswith(f"{path}{line}")


def test_duplicate_keys_and_broken_files_have_line_and_column(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    text = path.read_text()
    path.write_text(text.replace('"file_name": "b.jpg"', '"file_name": "b.jpg",\n   "id": 5'))
    assert make.refused(read, path) == f"{path}:12:4: not valid JSON (duplicate key 'id'); fix the file"
    path.write_text(text[:200])
    assert make.refused(read, path).startswith(f"{path}:")
    assert "not valid JSON (" in make.refused(read, path)


def test_annotations_without_an_id_are_counted(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    said = json.loads(path.read_text())
    del said["annotations"][2]["id"]
    said["annotations"][2]["bbox"] = [0, 0, -1, 3]
    path.write_text(json.dumps(said))
    assert make.refused(read_given, path) == f"{path}: annotations[2]: width -1.0 is not positive; fix the box"


def test_json_files_that_are_something_else_are_passed_over(make, tmp_path):
    root = make.yolo(tmp_path / "d")
    (root / "notes.json").write_text('{"by": "me"}')
    assert read(root).kind == "yolo"
    root = make.coco(tmp_path / "e")
    (root / "annotations" / "train_notes.json").write_text('{"by": "me"}')
    assert read(root).kind == "coco"


def test_which_of_several_files(make, tmp_path):
    root = make.coco(tmp_path / "d")
    shutil.copy(root / "annotations" / "instances_train.json", root / "annotations" / "instances_train2.json")
    line = f"{root}/annotations: 'instances_train.json' and 'instances_train2.json' could both be meant; give the file"
    assert make.refused(read, root) == line
    for name in ("train", "train2"):
        (root / "annotations" / f"instances_{name}.json").unlink()
    assert make.refused(read, root).startswith(f"{root}: no file for train beside 'instances_")
