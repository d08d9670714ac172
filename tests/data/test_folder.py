"""Image folders: what is found, in which order, and each line about what should not be there."""

from __future__ import annotations

import os

import pytest

from gradlearn.data import folder as module
from gradlearn.data.folder import read_folder
from gradlearn.errors import InputTrouble


def listed(path, **options):
    return read_folder(path, **{"allow_empty_class": False, "follow_links_to": None} | options)


def refused(path, **options) -> str:
    with pytest.raises(InputTrouble) as caught:
        listed(path, **options)
    return str(caught.value)


def rejected(path, **options) -> list[str]:
    return [reject.line for reject in listed(path, **options).rejects]


def test_classes_and_files_in_natural_order(draw, tmp_path):
    draw.folder(tmp_path / "d", n=11, classes=("10", "9"))
    found = listed(tmp_path / "d")
    assert found.classes == ("9", "10")
    assert list(found.parts) == ["train"]
    names = found.parts["train"].names
    assert names[:3] == ["9/0.png", "9/1.png", "9/2.png"]
    assert names[10] == "9/10.png"
    assert found.parts["train"].labels.tolist() == [0] * 11 + [1] * 11


def test_parts_by_their_names(draw, tmp_path):
    for i, valid in enumerate(("val", "Valid", "VALIDATION")):
        root = draw.folder(tmp_path / str(i), n=2, parts=("Train", valid, "test"))
        found = listed(root)
        assert list(found.parts) == ["train", "valid", "test"]
        assert found.parts["valid"].names[0] == f"{valid}/cat/0.png"


def test_a_class_may_be_called_train(draw, tmp_path):
    root = draw.folder(tmp_path / "d", classes=("train", "plane", "test"))
    assert listed(root).classes == ("plane", "test", "train")


def test_what_systems_leave_behind_is_passed_over(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=2)
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "cat/desktop.ini", "cat/notes.txt", ".hidden/x.png", "__MACOSX/y.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"junk")
    found = listed(root)
    assert (found.classes, len(found.parts["train"].names), found.rejects) == (("cat", "dog"), 4, [])
    assert found.notes[0]["count"] == 3
    assert found.notes[0]["examples"][1] == f"{root}/cat/notes.txt"


def test_pictures_below_a_class_and_without_a_known_name_are_found(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=1)
    (root / "cat" / "more").mkdir()
    (root / "cat" / "more" / "x").write_bytes(draw.encoded(draw.noise()))
    assert listed(root).parts["train"].names == ["cat/0.png", "cat/more/x", "dog/0.png"]


def test_lines_about_classes(draw, tmp_path):
    root = tmp_path / "d"
    root.mkdir()
    assert refused(root) == f"{root}: no class folders; expected {root}/<class>/<image>"
    draw.folder(root, n=1)
    (root / "owl").mkdir()
    assert refused(root) == f"{root}/owl: class folder is empty; add images or pass --allow-empty-class"
    assert listed(root, allow_empty_class=True).classes == ("cat", "dog", "owl")
    draw.folder(root, n=1, classes=("Cat", "owl"))
    assert refused(root) == f"{root}: names 'Cat' and 'cat' differ only by case; rename one"


def test_lines_about_parts(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=1, parts=("train", "valid"))
    (root / "test").mkdir()
    assert refused(root) == f"{root}/test: no class folders; expected {root}/test/<class>/<image>"
    draw.folder(root, n=1, classes=("dgo",), parts=("test",))
    expected = f"{root}/test/dgo: class 'dgo' is not in train; did you mean 'dog'?; add it to train or remove it"
    assert refused(root) == expected
    draw.folder(tmp_path / "e", n=1, parts=("train", "val", "valid"))
    assert refused(tmp_path / "e") == f"{tmp_path}/e: 'val' and 'valid' are both for valid; keep one"
    draw.folder(tmp_path / "f", n=1, parts=("test",))
    assert refused(tmp_path / "f") == f"{tmp_path}/f: no 'train' folder beside 'test'; add one"


def test_a_class_missing_or_empty_in_test_is_fine(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=1, parts=("train",))
    draw.folder(root, n=1, classes=("dog",), parts=("test",))
    (root / "test" / "owl").mkdir()
    assert listed(root).parts["test"].labels.tolist() == [1]


def test_lines_about_things_that_are_no_files(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=1)
    os.mkfifo(root / "cat" / "p")
    (root / "cat" / "dangling").symlink_to("nowhere")
    (root / "cat" / "loop").symlink_to("loop")
    (root / "cat" / "up").symlink_to("..")
    (root / "cat" / "out.png").symlink_to("/etc/passwd")
    assert rejected(root) == [
        f"{root}/cat/dangling: dangling link (to 'nowhere'); remove the link",
        f"{root}/cat/loop: link loop; remove the link",
        f"{root}/cat/out.png: link leaves the data root; pass --follow-links-to DIR to allow it",
        f"{root}/cat/p: not a regular file (FIFO); remove it",
        f"{root}/cat/up: link loop; remove the link",
    ]
    assert listed(root).parts["train"].names == ["cat/0.png", "dog/0.png"]


def test_a_fifo_among_the_classes(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=1)
    os.mkfifo(root / "p")
    assert refused(root) == f"{root}/p: not a regular file (FIFO); remove it"


def test_links_inside_and_to_where_they_may_lead(draw, tmp_path):
    root = draw.folder(tmp_path / "d", n=1)
    other = draw.folder(tmp_path / "other", n=2, classes=("owl",))
    (root / "dog" / "again.png").symlink_to("0.png")
    (root / "dog" / "out.png").symlink_to(other / "owl" / "1.png")
    (root / "owl").symlink_to(other / "owl")
    assert refused(root) == f"{root}/owl: link leaves the data root; pass --follow-links-to DIR to allow it"
    found = listed(root, follow_links_to=other)
    assert found.classes == ("cat", "dog", "owl")
    part = found.parts["train"]
    assert part.names == ["cat/0.png", "dog/0.png", "dog/again.png", "dog/out.png", "owl/0.png", "owl/1.png"]
    (paths,) = part.chunks()
    assert paths[2:4] == [f"{root}/dog/0.png", f"{other}/owl/1.png"]
    assert not found.rejects


def test_the_root_itself_may_be_a_link(draw, tmp_path):
    draw.folder(tmp_path / "real", n=2)
    (tmp_path / "d").symlink_to("real")
    part = listed(tmp_path / "d").parts["train"]
    assert part.where == f"{tmp_path}/d"
    assert next(part.chunks())[0] == f"{tmp_path}/real/cat/0.png"


def test_too_deep_and_too_many(draw, tmp_path, monkeypatch):
    root = draw.folder(tmp_path / "d", n=3)
    deep = root / "cat" / "/".join("x" * 33)
    deep.mkdir(parents=True)
    assert "deeper than 32 folders" in refused(root)
    monkeypatch.setattr(module, "ENTRIES", 3)
    assert refused(draw.folder(tmp_path / "e")).endswith("more than 3 files; give a smaller folder")


def test_a_folder_that_may_not_be_read(draw, tmp_path, monkeypatch):
    root = draw.folder(tmp_path / "d", n=1)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refused(root) == f"{root}/dog: permission denied; make it readable or remove it"
