"""YAML: plain values are PyYAML's; tags, anchors and keys twice never reach a constructor."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gradlearn.data.boxes.plain_yaml import load
from gradlearn.errors import InputTrouble

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("yaml") / "data.yaml"


@given(document=st.dictionaries(st.text("xyz", min_size=1), plain, max_size=4))
def test_plain_values_are_what_pyyaml_reads(file, document):
    file.write_text(yaml.safe_dump(document))
    assert load(file, "data.yaml") == yaml.safe_load(file.read_text()) == document


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: !!python/object/apply:os.system ['true']", "tag '!!python/object/apply:os.system' is not allowed; plain values only"),
        ("a: !!python/name:os.system", "tag '!!python/name:os.system' is not allowed; plain values only"),
        ("a: !include x.yaml", "tag '!include' is not allowed; plain values only"),
        (BOMB, "anchor or alias 'a' is not allowed; plain values only"),
        ("a: 1\nb: 2\na: 3", ":3:1: not valid YAML (duplicate key 'a'); fix the file"),
        ("a: [1\nb: 2", ":2:2: not valid YAML (expected ',' or ']', but got ':'); fix the file"),
        ("[1, 2]", "expected keys such as train, val and names; fix the file"),
        ("", "expected keys such as train, val and names; fix the file"),
        ("a: " + "[" * 30 + "]" * 30, "nested deeper than 20; plain values only"),
        ("a: 2026-99-99", "not valid YAML (month must be in 1..12); fix the file"),
    ],
)
def test_lines_about_yaml(file, text, line):
    file.write_text(text)
    with pytest.raises(InputTrouble) as caught:
        load(file, "data.yaml")
    assert str(caught.value).removeprefix("data.yaml").removeprefix(": ") == line


def test_files_that_are_none_are_refused(file):
    for data, line in ((b"a: \xe9", "byte 0xe9 is not UTF-8; save it as UTF-8"), (b"#" * (1 << 21), "exceeds")):
        file.write_bytes(data)
        with pytest.raises(InputTrouble, match=line):
            load(file, "data.yaml")
    with pytest.raises(InputTrouble, match="file not found"):
        load(file.parent / "no.yaml", "no.yaml")
