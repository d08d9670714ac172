"""Machine code is made once, kept, and trusted only if it is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradlearn.program import machine
from gradlearn.program.unfit import Unfit

TEXT = """define i64 @run(ptr %table, i64 %steps, ptr %numbers, ptr %out) {{
entry:
  %twice = mul i64 %steps, {factor}
  ret i64 %twice
}}"""


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_engines", {})


def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process: nothing is known but what is on disk, and nothing may be made anew."""
    kept = machine._engines
    monkeypatch.setattr(machine, "_engines", {})
    monkeypatch.setattr(machine, "_optimise", lambda *_: pytest.fail("made again"))
    assert kept  # machine code lives on


def call(factor: int, steps: int = 21) -> int:
    return machine.compiled(TEXT.format(factor=factor))[0](0, steps, 0, 0)


def test_text_becomes_a_function() -> None:
    assert call(2) == 42


def test_code_that_is_kept_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(2) == 42
    (file,) = machine.folder().iterdir()
    again(monkeypatch)
    assert call(2) == 42
    assert list(machine.folder().iterdir()) == [file]


def test_code_that_is_kept_is_used_by_another_process() -> None:
    assert call(3) == 63
    script = (
        "import sys; from gradlearn.program import machine; machine._optimise = None;"
        "print(machine.compiled(sys.argv[1])[0](0, 5, 0, 0))"
    )
    command = [sys.executable, "-c", script, TEXT.format(factor=3)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "15"


def test_another_text_is_other_code() -> None:
    assert (call(2), call(5)) == (42, 105)
    assert len(list(machine.folder().iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "nonsense"])
def test_a_damaged_file_is_made_again(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(2) == 42
    (file,) = machine.folder().iterdir()
    whole = file.read_bytes()
    changed = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    file.write_bytes({"cut": whole[:-7], "changed": changed, "empty": b"", "nonsense": b"x" * 500}[damage])
    monkeypatch.setattr(machine, "_engines", {"old": machine._engines})
    assert call(2) == 42
    assert file.read_bytes() == whole


def test_a_folder_that_nobody_may_write_to_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert call(2) == 42
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_user_without_a_home_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert call(2) == 42


def test_what_llvm_does_not_take_is_unfit() -> None:
    with pytest.raises(Unfit, match="LLVM does not take"):
        machine.compiled("define i64 @run() { nonsense }")


def test_without_llvmlite_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    with pytest.raises(Unfit, match="needs llvmlite"):
        machine._llvm.__wrapped__()


def test_without_pytorchs_product_only_programs_with_one_are_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM would end the process over a name that it does not find."""
    monkeypatch.setattr(machine, "products", dict)
    assert call(2) == 42
    with pytest.raises(Unfit, match="own product is not to be found"):
        machine.compiled("declare void @product_f32(ptr)\n" + TEXT.format(factor=2))


def test_products_are_those_of_pytorch() -> None:
    import ctypes

    a, b, out = np.arange(6.0), np.arange(6.0, 12.0), np.zeros(4)
    product = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(machine.products()["f64"])
    two, three, one, none, turn = (np.array(v) for v in (np.int32(2), np.int32(3), 1.0, 0.0, np.frombuffer(b"N", np.uint8)))
    values = (turn, turn, two, two, three, one, b, two, a, three, none, out, two)
    product(*(v.ctypes.data for v in values))  # columns first: out^T = b^T a^T
    assert np.array_equal(out.reshape(2, 2), a.reshape(2, 3) @ b.reshape(3, 2))


def test_functions_of_several_names_are_found() -> None:
    text = TEXT.format(factor=2) + "\n" + TEXT.format(factor=7).replace("@run", "@run1")
    first, second = machine.compiled(text, ["run", "run1"])
    assert (first(0, 3, 0, 0), second(0, 3, 0, 0)) == (6, 21)


def test_the_oldest_programs_on_disk_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "MOST", 3)
    for k in range(5):
        machine._write(f"{k}", b"code")
        os.utime(machine.folder() / f"{k}", (k + 1, k + 1))
    assert sorted(path.name for path in machine.folder().iterdir()) == ["2", "3", "4"]
