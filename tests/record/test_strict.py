from __future__ import annotations

import json
import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.errors import CheckpointTrouble, InputTrouble
from gradlearn.record import strict
from gradlearn.record.strict import Malformed

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, max_examples=80, deadline=None, database=None)
@given(values)
def test_a_document_comes_back_equal(value):
    again = strict.parse(strict.document(value))
    assert again == value
    assert json.dumps(again, sort_keys=True) == json.dumps(value, sort_keys=True)  # 1 is not 1.0, -0.0 not 0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ('{"x": {"a\\u001b": 1, "a\\u001b": 2}}', "duplicate key 'a\\x1b'"),
        ("[NaN]", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[1e999]", "number 1e999 is too large"),
        ("[" * 33 + "1" + "]" * 33, "deeper than 32"),
        ("[" * 100_000, "deeper than 32"),
        ('{"a":' * 100_000, "deeper than 32"),
        ("[" + "0," * 100_001 + "0]", "more than 100000 values"),
        ("9" * 5000, "not valid JSON (Exceeds the limit"),
        ("", "not valid JSON (Expecting value at line 1 column 1)"),
        ("{'a': 1}", "not valid JSON"),
        ("1 2", "Extra data"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"\xef\xbb\xbf1", "not valid JSON"),
        ('"\x01"', "Invalid control character"),
    ],
)
def test_what_has_two_meanings_or_none_is_refused(text, says):
    with pytest.raises(Malformed) as caught:
        strict.parse(text)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_depth_of_32_is_allowed():
    assert strict.parse("[" * 32 + "1" + "]" * 32)
    assert strict.parse('"' + "[" * 1000 + '"') == "[" * 1000


def test_duplicate_keys_in_a_large_object_are_found_fast():
    with pytest.raises(Malformed, match="duplicate key '7'"):
        strict.parse("{" + ",".join(f'"{i}":0' for i in range(300_000)) + ',"7":1}')


@pytest.mark.parametrize("value", [{1: 2}, {"a": {2}}, np.float32(1.0), np.float64(1.0), Path("x"), b"x", torch.tensor(1)])
def test_a_document_holds_only_what_comes_back_as_it_was(value):
    with pytest.raises(TypeError):
        strict.document(value)


@pytest.mark.parametrize("value", [math.nan, {"a": [math.inf]}])
def test_a_document_is_finite(value):
    with pytest.raises(ValueError, match="is not finite"):
        strict.document(value)


def test_nothing_is_written_that_cannot_be_read():
    deep = "x"
    for _ in range(40):
        deep = [deep]
    with pytest.raises(ValueError):
        strict.document(deep)
    with pytest.raises(ValueError):
        strict.line({"a": deep})
    with pytest.raises(ValueError):
        strict.document(["x"] * 100_001)
    with pytest.raises(ValueError):
        strict.document("x" * (5 << 20))


def test_a_row_says_null_for_what_is_no_number():
    row = {
        "loss": math.nan, "norm": -math.inf, "lr": 0.1, "a": np.float32(0.5), "b": np.array([1.0, np.nan]),
        "c": torch.tensor([1, 2]), "d": MappingProxyType({"x": math.inf, 3: True}), "e": Path("a/b"),
        "f": (1, None), "g": {2, 1}, "h": np.int64(3), "i": np.bool_(True),
    }  # fmt: skip
    assert json.loads(strict.line(row)) == {
        "loss": None, "norm": None, "lr": 0.1, "a": 0.5, "b": [1.0, None], "c": [1, 2],
        "d": {"x": None, "3": True}, "e": "a/b", "f": [1, None], "g": [1, 2], "h": 3, "i": True,
    }  # fmt: skip
    assert strict.line({"b": 1, "a": "é\x1b\n"}) == '{"b":1,"a":"\\u00e9\\u001b\\n"}\n'
    with pytest.raises(TypeError, match="a object has no place in a log"):
        strict.line({"x": object()})


def test_any_flipped_bit_of_a_sealed_document_is_seen():
    text = strict.document(strict.sealed({"format": 1, "a": {"b": [1, 2.5, None]}}), indent=1)
    assert strict.intact(strict.parse(text), text)
    assert strict.opened(strict.parse(text)) == {"format": 1, "a": {"b": [1, 2.5, None]}}
    for at in range(len(text)):
        for bit in range(8):
            other = text[:at] + bytes([text[at] ^ (1 << bit)]) + text[at + 1 :]
            try:
                value = strict.parse(other)
            except Malformed:
                continue
            assert not strict.intact(value, other)
    assert not strict.intact([], b"[]\n")
    assert not strict.intact({"format": 1}, b'{\n "format": 1\n}\n')
    with pytest.raises(ValueError):
        strict.sealed({"sha256_of_rest": ""})


def test_a_file_that_is_no_json_is_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"id": 1, "id": 2}')
    with pytest.raises(CheckpointTrouble, match=r"a\.json: not valid JSON \(duplicate key 'id'\); restore a copy"):
        strict.read(path)
    with pytest.raises(InputTrouble, match=r"cannot be read \(18 bytes exceed 4\)"):
        strict.read(path, limit=4, trouble=InputTrouble)
    with pytest.raises(FileNotFoundError):
        strict.read(tmp_path / "none.json")
    path.write_bytes(strict.text({"a": math.nan}))
    assert strict.read(path) == {"a": None}
