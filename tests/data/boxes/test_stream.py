"""The stream: what Python's own parser says of the whole document, an item at a time; and where it is no JSON."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlearn.data.boxes import stream
from gradlearn.data.boxes.stream import Stream
from gradlearn.errors import InputTrouble


@pytest.fixture(autouse=True)
def a_few_characters_at_a_time(monkeypatch):
    monkeypatch.setattr(stream, "CHUNK", 7)


def members(text: str) -> list:
    return list(Stream(io.BytesIO(text.encode()), "x.json").members())


def refused(text: str) -> str:
    with pytest.raises(InputTrouble) as caught:
        members(text)
    return str(caught.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3))


@given(st.dictionaries(st.text(max_size=6), values, max_size=5), st.sampled_from([None, 0, 3]), st.booleans())
def test_members_are_those_of_the_whole_document(document, indent, ascii_only):
    expected = []
    for key, value in document.items():
        expected += [(key, item) for item in value] if isinstance(value, list) else [(key, value)]
    assert members(json.dumps(document, indent=indent, ensure_ascii=ascii_only)) == expected


@given(st.dictionaries(st.text(max_size=6), values, max_size=5), st.data())
def test_what_python_refuses_is_refused(document, data):
    text = json.dumps(document)
    cut = data.draw(st.integers(0, len(text) - 1))
    broken = text[:cut] + data.draw(st.sampled_from(["", "}", "]", '"', ",", "x"])) + text[cut + 1 :]
    try:
        twice = []
        json.loads(broken, object_pairs_hook=lambda pairs: twice.append(len(dict(pairs)) != len(pairs)) or dict(pairs))
    except ValueError:
        assert ": not valid JSON (" in refused(broken)
    else:
        if any(twice):
            assert "duplicate key" in refused(broken)
        else:
            members(broken)


def test_a_duplicate_key_is_named_with_line_and_column():
    line = "x.json:2:27: not valid JSON (duplicate key 'id'); fix the file"
    assert refused('{"a": [\n {"id": 1, "b": {"x": 2}, "id": 3}]}') == line
    assert refused('{"a": 1,\n  "a": 2}') == "x.json:2:3: not valid JSON (duplicate key 'a'); fix the file"
    assert refused('{"a": {"b": [{"c\\u0041": 1, "cA": 2}]}}') == "x.json:1:29: not valid JSON (duplicate key 'cA'); fix the file"
    assert members('{"a": {"id": 1, "b": {"id": 2}}}') == [("a", {"id": 1, "b": {"id": 2}})]


def test_lines_about_what_is_no_json(monkeypatch):
    assert refused("") == "x.json:1:1: not valid JSON (expected an object with images, annotations and categories); fix the file"
    assert refused("[1]").startswith("x.json:1:1: not valid JSON (expected an object")
    assert refused('{"a": 1}\n x') == "x.json:2:2: not valid JSON (something follows the end); fix the file"
    assert refused('{"a": [1,\n2,,3]}') == "x.json:2:3: not valid JSON (expecting value); fix the file"
    assert refused('{"a": [1\n2]}') == "x.json:2:1: not valid JSON (expected , or ]); fix the file"
    assert refused('{"a": 1,}') == "x.json:1:9: not valid JSON (expected a key in double quotes); fix the file"
    assert refused('{"a": "' + "é" * 40).startswith("x.json:1:7: not valid JSON (unterminated string")
    monkeypatch.setattr(stream, "CHUNK", 1000)
    assert refused('{"a":[' + "[" * 3000).endswith("not valid JSON (nested too deeply); fix the file")
    assert "not valid JSON (exceeds the limit" in refused('{"a": ' + "1" * 5000 + "}")


def test_bytes_that_are_not_utf8_are_named():
    with pytest.raises(InputTrouble, match=r"^x.json: byte 0xe9 is not UTF-8; save it as UTF-8$"):
        list(Stream(io.BytesIO(b'{"a": "caf\xe9"}'), "x.json").members())


def test_a_byte_order_mark_and_numbers_at_the_edge_of_a_chunk():
    assert list(Stream(io.BytesIO(b'\xef\xbb\xbf{"a": [123456789, 1.25e10, -3]}'), "x").members()) == [
        ("a", 123456789),
        ("a", 1.25e10),
        ("a", -3),
    ]
