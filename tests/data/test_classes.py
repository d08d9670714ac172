"""Classes: those of train and no other, numbered in one order."""

from __future__ import annotations

import numpy as np
import pytest

from gradlearn.data.classes import enough, listed, matched, numbered, ordered
from gradlearn.data.source import Found, Part
from gradlearn.errors import InputTrouble


def found(classes: tuple[str, ...], labels: list[int], named: bool = True) -> Found:
    part = Part("other", [str(i) for i in labels], np.array(labels, np.int64), lambda: iter([]))
    return Found("folder", "other", classes, named, {"train": part})


def text(*labels: str) -> np.ndarray:
    return np.array(labels, dtype=object)


def test_numbers_of_train_in_every_part():
    raw = {"train": text("b", "a", "b10", "b9"), "test": text("b9", "a")}
    classes, ids = numbered(raw, None, {"train": "t", "test": "s"})
    assert classes == ("a", "b", "b9", "b10")
    assert ids["train"].tolist() == [1, 0, 3, 2]
    assert ids["test"].tolist() == [2, 0]
    assert ids["test"].dtype == np.int64


def test_a_part_may_be_empty():
    raw = {"train": np.array([1, 2]), "test": np.empty(0, np.int64)}
    assert len(numbered(raw, None, {"train": "t", "test": "s"})[1]["test"]) == 0


def test_other_data_is_counted_in_the_classes_of_train():
    part = matched(found(("cat", "dog"), [0, 1, 1]), "train", ("cow", "dog", "cat"))
    assert part.labels.tolist() == [2, 1, 1]


def test_a_foreign_class_counts_only_where_it_has_pictures():
    assert matched(found(("cat", "owl"), [0]), "train", ("cat", "dog")).labels.tolist() == [0]
    with pytest.raises(InputTrouble) as caught:
        matched(found(("cat", "owl"), [0, 1]), "train", ("cat", "dog"))
    expected = "other: class 'owl' is not in train; known: cat, dog; add it to train or remove it"
    assert str(caught.value) == expected


def test_numbers_match_names_by_place_and_numbers_by_value():
    assert matched(found(("0", "2"), [0, 1], False), "train", ("a", "b", "c")).labels.tolist() == [0, 2]
    assert matched(found(("1", "3"), [0, 1], False), "train", ("1", "2", "3")).labels.tolist() == [0, 2]
    with pytest.raises(InputTrouble, match="class '1' is not in train"):
        matched(found(("1", "3"), [0, 1], False), "train", ("a", "b", "c"))


def test_two_classes_are_the_least():
    with pytest.raises(InputTrouble) as caught:
        enough(("cat",), "data/train")
    assert str(caught.value) == "data/train: only one class 'cat'; classification needs at least 2"


def test_names_that_differ_only_by_case():
    with pytest.raises(InputTrouble) as caught:
        ordered(["cat", "dog", "Cat"], "data/train")
    assert str(caught.value) == "data/train: names 'Cat' and 'cat' differ only by case; rename one"


def test_list_of_names(tmp_path):
    assert listed(tmp_path) is None
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffcafé\r\n\n dog \n".encode())
    assert listed(tmp_path) == ("café", "dog")
    path.write_text("a\nb\na\n")
    with pytest.raises(InputTrouble, match="class 'a' appears twice; names must be unique"):
        listed(tmp_path)
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputTrouble, match="give one class name a line, UTF-8"):
        listed(tmp_path)
