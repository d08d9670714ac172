"""Damaged and hostile files: a data set or one line, nothing else; nothing runs, nothing is opened that was not given."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from gradlearn.data.boxes.boxed import Boxed
from gradlearn.data.boxes.read import read_given
from gradlearn.errors import InputTrouble

PIECES = [
    *rb"""- 999999999999999999999999 nan inf ../ { ] < > & 1e999 !!x *a " ' , :""".split(),
    b"\x00",
    b"\xff",
    b"\n",
    b" ",
    b"",
]
FILES = [("voc", "a.xml"), ("coco", "instances_train.json"), ("yolo", "a.txt"), ("yolo", "data.yaml")]


def mutated(data: bytes, chance: np.random.Generator) -> bytes:
    """A few bytes replaced by a piece, a stretch doubled or cut out."""
    for _ in range(int(chance.integers(1, 3))):
        a, b = sorted(chance.integers(0, len(data) + 1, 2).tolist())
        way = int(chance.integers(0, 4))
        piece = PIECES[int(chance.integers(0, len(PIECES)))]
        b = min(b, a + 20) if way != 3 else b
        data = data[:a] + (data[a:b] * 2 if way == 2 else b"" if way == 3 and chance.random() < 0.3 else piece) + data[b:]
    return data


def attempt(root: Path) -> tuple[Boxed | None, str]:
    try:
        return read_given(root), ""
    except InputTrouble as trouble:
        return None, str(trouble)


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_mutant_is_read_or_refused_in_one_line(make, tmp_path, kind, name):
    root = getattr(make, kind)(tmp_path / "d")
    (path,) = root.rglob(name)
    whole, chance, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(250):
        path.write_bytes(mutated(whole, chance))
        boxed, line = attempt(root)
        if boxed is None:
            refused += 1
            assert line.isprintable()
            assert str(root) in line
        else:
            h, w = boxed.sizes[np.repeat(np.arange(len(boxed)), np.diff(boxed.first))].T
            x1, y1, x2, y2 = boxed.boxes.T
            assert ((x1 >= 0) & (x1 < x2) & (x2 <= w) & (y1 >= 0) & (y1 < y2) & (y2 <= h)).all()
            assert ((boxed.labels >= 0) & (boxed.labels < len(boxed.classes))).all()
    assert refused > 20


def test_nothing_runs_and_nothing_else_is_opened(make, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    attacks = []
    root = make.voc(tmp_path / "voc")
    (root / "Annotations" / "a.xml").write_text(f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><annotation>&x;</annotation>')
    attacks.append(root)
    path = make.one_coco(tmp_path / "coco", images=[{"id": 10, "file_name": "../../secret", "width": 1, "height": 1}])
    attacks.append(path)
    ran = f"touch {tmp_path}/ran"
    for i, more in enumerate((f"download: {ran}\n", f"a: !!python/object/apply:os.system ['{ran}']\n")):
        attacks.append(make.yolo(tmp_path / f"yolo{i}", config=more + "train: images/train\nnames: [cat, dog]\n"))
    attacks.append(make.yolo(tmp_path / "yolo2", config=f"path: {secret.parent}\ntrain: secret\nnames: [cat]\n"))
    seen: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple) -> None:
        if watching and event.startswith(("subprocess", "os.system", "os.exec", "os.posix_spawn", "socket")):
            seen.append(event)
        if watching and event == "open" and str(arguments[0]).endswith("secret"):
            seen.append(f"open {arguments[0]}")

    sys.addaudithook(hook)
    try:
        for attack in attacks:
            with pytest.raises(InputTrouble):
                read_given(attack)
    finally:
        watching.clear()
    assert seen == []
    assert not (tmp_path / "ran").exists()


def test_many_faults_keep_few_lines(make, tmp_path):
    root = make.yolo(tmp_path / "d", {"train": ["a"]})
    (root / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n" + "9 1 1 1\n" * 20_000)
    line = make.refused(read_given, root)
    assert line.startswith(f"{root}/labels/train/a.txt:2: 4 numbers, expected 5; 20000 of 20001 boxes are faulty (100 %), also")
    assert len(line) < 500


def test_a_hundred_thousand_boxes_in_one_picture(make, tmp_path):
    path = make.one_coco(tmp_path / "d")
    said = make.document()
    annotation = json.dumps(said["annotations"][0])
    text = json.dumps(said | {"annotations": []})
    many = ", ".join([annotation.replace('"id": 1,', "")] * 100_000)
    path.write_text(text.replace('"annotations": []', f'"annotations": [{many}]'))
    boxed = read_given(path)
    assert len(boxed.boxes) == 100_000
    row = next(row for row in boxed.notes if "exact copies" in row["what"])
    assert row["count"] == 99_999
