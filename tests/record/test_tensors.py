from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.errors import InputTrouble
from gradlearn.record import tensors
from gradlearn.record.strict import Malformed

KINDS = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def packed(group):
    part = tensors.Packed(group)
    data = bytearray().join(part.chunks())
    assert len(data) == part.size
    return data


def bits(tensor):
    return bytes(tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""


def zoo():
    base = torch.arange(600, dtype=torch.float32)
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    group = {str(kind).removeprefix("torch."): torch.tensor([1, 0, 1]).to(kind) for kind in KINDS}
    return (
        group
        | {
            "view.one": base[:6].view(2, 3),
            "view.two": base[3:9],  # shares storage with the one before
            "turned": base[:12].view(3, 4).t(),
            "strided": base[::7],
            "expanded": torch.tensor([2.5]).expand(3, 2),
            "channels_last": image,
            "scalar": torch.tensor(3.25, dtype=torch.float64),
            "count": torch.tensor(41),
            "empty": torch.empty(0, 3),
            "empty.int": torch.empty(0, dtype=torch.int64),
            "parameter": torch.nn.Parameter(torch.tensor([-0.0, float("nan"), torch.inf])),
            "conjugate": torch.tensor([1 + 2j], dtype=torch.complex64).conj(),
            "big": torch.randn(600_000),
            "with space/slash-é": torch.ones(1),
        }
    )


def test_all_dtypes_and_layouts_come_back_bit_for_bit():
    group = zoo()
    got = tensors.unpack(packed(group))
    assert set(got) == set(group)
    for name, tensor in group.items():
        assert got[name].dtype == tensor.dtype
        assert got[name].shape == tensor.shape
        assert bits(got[name]) == bits(tensor), name


def test_each_tensor_owns_its_storage():
    got = tensors.unpack(packed(zoo()))
    for tensor in got.values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    got["view.one"].fill_(7.0)
    assert got["view.two"][0] == 3.0


def test_the_library_reads_what_we_write_and_we_read_what_it_writes():
    group = zoo()
    theirs = safetensors.torch.load(bytes(packed(group)))
    plain = {name: tensor.detach().resolve_conj().contiguous().clone() for name, tensor in group.items()}
    ours = tensors.unpack(bytearray(safetensors.torch.save(plain)))
    for name, tensor in group.items():
        assert bits(theirs[name]) == bits(tensor) == bits(ours[name])


def test_bytes_depend_on_nothing_but_names_and_numbers():
    image = torch.randn(2, 3, 4, 5)
    one = {"a": image, "b": torch.arange(3)}
    two = {"b": torch.arange(6)[::2].div(2, rounding_mode="floor"), "a": image.to(memory_format=torch.channels_last)}
    assert packed(one) == packed(two)


def test_numbers_are_aligned():
    data = packed({"c": torch.ones(3, dtype=torch.bool), "a": torch.ones(3), "b": torch.ones(1, dtype=torch.float64)})
    entries, start = tensors.gate(data)
    assert start % 8 == 0
    assert [name for name, *_ in entries] == ["b", "a", "c"]


@pytest.mark.parametrize("name", ["", "a\n", "\x1b[31m", "x" * 257, "__metadata__", "\ud800"])
def test_names_of_control_characters_are_refused(name):
    with pytest.raises(InputTrouble, match="printable characters"):
        tensors.Packed({name: torch.ones(1)})


def test_what_the_format_cannot_hold_is_refused():
    with pytest.raises(InputTrouble, match="'x': complex128 cannot be stored; use one of bool, uint8, "):
        tensors.Packed({"x": torch.ones(1, dtype=torch.complex128)})
    with pytest.raises(InputTrouble, match="'x': is sparse or has no numbers"):
        tensors.Packed({"x": torch.ones(2, device="meta")})
    with pytest.raises(InputTrouble, match=r"4200 tensors: names and shapes take \d+ bytes, at most 1048576; use"):
        tensors.Packed({f"{i:0200d}": torch.empty(0) for i in range(4200)})


def header(text, data=b"", size=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return bytearray((len(text) if size is None else size).to_bytes(8, "little") + text + data)


def entry(dtype="F32", shape=(1,), place=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bytearray(b"abc"), "3 bytes are too few for a header; truncated"),
        (header({}, size=4294967296), "header declares 4294967296 bytes, file has 10; damaged or hostile"),
        (bytearray(b"\x80\x02}q\x00X\x01\x00\x00\x00a"), "starts like a pickle, not safetensors; refused"),
        (bytearray(b"PK\x03\x04" + b"\0" * 60), "pickle-based weights are not loaded; convert them to safetensors"),
        (header(b"x" * 20), "has no header of safetensors"),
        (header(b"{" + b" " * 2**20 + b"}"), "header of 1048578 bytes exceeds 1048576"),
        (header(b"{" + b'"a":[' * 9 + b"[" * 60), "not valid JSON"),
        (header(b'{"a":{},"a":{}}'), "duplicate key 'a'"),
        (header({"a": 3}), "'a' is not described by"),
        (header({"a": entry() | {"x": 1}}, b"1234"), "'a' is not described by"),
        (header({"a": entry(dtype="F4")}, b"1234"), "'a' has an unknown dtype"),
        (header({"a": entry(dtype=["F32"])}, b"1234"), "'a' has an unknown dtype"),
        (header({"a": entry(shape=(-1,), place=(0, -4))}), "'a' has a shape or place that is none"),
        (header({"a": entry(shape=(True,))}, b"1234"), "'a' has a shape or place that is none"),
        (header({"a": entry(shape=(2,))}, b"1234"), "'a' has 4 bytes, which is not its shape"),
        (header({"a": entry(shape=(2**61, 2**61))}, b"1234"), "'a' has 4 bytes, which is not its shape"),
        (header({"a": entry(), "b": entry()}, b"1234"), "'b' begins at byte 0, not 4"),
        (header({"a": entry(), "b": entry(place=(8, 12))}, b"1" * 12), "'b' begins at byte 8, not 4"),
        (header({"a": entry(place=(4, 8))}, b"1" * 8), "'a' begins at byte 4, not 0"),
        (header({"a": entry()}, b"12345"), "bytes, header declares"),
        (header({"a": entry()}, b"123"), "truncated or damaged"),
        (header({"\n": entry()}, b"1234"), "a tensor name of control characters"),
        (header({"__metadata__": {"a": 1}}), "metadata that is not text"),
        (header({"a": entry("BOOL", (1,), (0, 1))}, b"\x07"), "neither true nor false"),
    ],
)
def test_every_claim_of_a_header_is_checked(data, says):
    with pytest.raises(Malformed) as caught:
        tensors.unpack(data)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_and_every_tail_is_seen():
    data = packed({"a": torch.arange(20.0), "b": torch.ones(3, dtype=torch.bool)})
    for size in range(len(data)):
        with pytest.raises(Malformed):
            tensors.unpack(data[:size])
    with pytest.raises(Malformed):
        tensors.unpack(data + b"\0")


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(st.data())
def test_no_bytes_crash_the_reader(data):
    whole = bytearray(packed({"a": torch.arange(4.0), "b": torch.ones(3, dtype=torch.bool)}))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    try:
        got = tensors.unpack(whole)
    except Malformed:
        return
    assert sum(t.numel() * t.element_size() for t in got.values()) == 19


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64])
def test_what_is_not_finite_is_found_in_every_dtype(kind):
    good = torch.tensor([1e4, -1e4, 0.0]).to(kind)
    assert tensors.fault({"a": good, "n": torch.arange(3), "e": torch.empty(0)}, lambda name: False) == ""
    for bad, says in ((float("nan"), "'a' holds NaN"), (torch.inf, "'a' holds an infinity")):
        for at in range(3):
            sick = good.clone()
            sick[at] = bad
            assert tensors.fault({"g": good, "a": sick}, lambda name: False) == says
    assert tensors.fault({"a": torch.tensor([torch.inf])}, lambda name: name == "a") == ""
    assert tensors.fault({"a": torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64)}, lambda name: False) == ""
    assert tensors.infinities({"a": torch.tensor([torch.inf]), "b": good}) == {"a"}
