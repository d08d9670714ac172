"""LLVM's part: text becomes machine code for this very processor, kept on disk for the next process.

A program's text does not depend on where anything lies in memory, so the same model compiles once.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from gradlearn.program.unfit import Unfit

PRODUCTS = {"f32": "sgemm_", "f64": "dgemm_"}
MOST = 500  # programs that are kept on disk; the oldest go
PACKED = {"pack": "SGEMM_PACK", "packed": "SGEMM_COMPUTE", "size": "SGEMM_PACK_GET_SIZE"}


@lru_cache(maxsize=1)
def _llvm() -> Any:
    """llvmlite, with this processor's target. Raises Unfit where it is not installed."""
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise Unfit("needs llvmlite to be compiled; pip install 'gradlearn[fast]'") from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@lru_cache(maxsize=1)
def _target() -> Any:
    llvm = _llvm()
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)


@lru_cache(maxsize=1)
def products() -> dict[str, int]:
    """Addresses of the matrix products that PyTorch itself uses: none where its library does not show them."""
    found: dict[str, int] = {}
    for path in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu*")):
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            for names in (PRODUCTS, PACKED):
                found |= {kind: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for kind, name in names.items()}
            break
    return found


def packed_size(n: int, m: int, k: int) -> int:
    """Bytes of a packed matrix (k, n) that others (m, k) are multiplied with."""
    numbers = [ctypes.byref(ctypes.c_int(v)) for v in (n, m, k)]
    return ctypes.CFUNCTYPE(ctypes.c_size_t, *[ctypes.c_void_p] * 4)(products()["size"])(ctypes.c_char_p(b"A"), *numbers)


_engines: WeakValueDictionary[str, Any] = WeakValueDictionary()  # machine code lives as long as a function of it
_recent: deque[Any] = deque(maxlen=16)  # and the last few a while longer: for the next fit of the same model


def compiled(text: str, names: Sequence[str] = ("run",)) -> list[Callable[..., int]]:
    """These functions of a module: (table, steps, numbers, out) -> steps done. Raises Unfit."""
    llvm = _llvm()
    key = _fingerprint(text)
    engine = _engines.get(key)
    if engine is None:
        if any(f"@product_{kind}(" in text and not products().get(kind) for kind in PRODUCTS):
            raise Unfit("multiplies matrices, and PyTorch's own product is not to be found on this machine")
        for kind, address in products().items():
            llvm.add_symbol(f"product_{kind}", address)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _fresh_target(llvm))
        engine.add_object_file(llvm.ObjectFileRef.from_data(_read(key) or _made(llvm, key, text)))
        engine.finalize_object()
        _engines[key] = engine
    _recent.append(engine)
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    functions = [kind(engine.get_function_address(name)) for name in names]
    for function in functions:
        function.engine = engine  # pyright: ignore[reportAttributeAccessIssue]  # whoever has the function has its code
    return functions


def _made(llvm: Any, key: str, text: str) -> bytes:
    """Machine code of a text, and kept."""
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise Unfit(f"makes a program that LLVM does not take ({' '.join(str(error).split())[:80]})") from error
    _optimise(llvm, module)
    code = _target().emit_object(module)
    _write(key, code)
    return code


def _fresh_target(llvm: Any) -> Any:
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True, codemodel="jitdefault"
    )


def _optimise(llvm: Any, module: Any) -> None:
    module.triple = llvm.get_default_triple()
    module.data_layout = str(_target().target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.slp_vectorization = True, False
    builder = llvm.create_pass_builder(_target(), options)
    builder.getModulePassManager().run(module, builder)


def _fingerprint(text: str) -> str:
    llvm = _llvm()
    machine = (llvm.get_host_cpu_name(), sorted(llvm.get_host_cpu_features().items()), llvm.llvm_version_info)
    return hashlib.sha256(repr((text, machine)).encode()).hexdigest()[:32]


def folder() -> Path:
    """Where machine code is kept between processes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradlearn" / "programs"


def _read(key: str) -> bytes:
    """Machine code kept by an earlier process; its first bytes are a checksum of the rest."""
    with suppress(OSError, RuntimeError):  # RuntimeError: nobody has a home here
        data = (folder() / key).read_bytes()
        if data[:32] == hashlib.sha256(data[32:]).digest():
            return data[32:]
    return b""


def _write(key: str, code: bytes) -> None:
    with suppress(OSError, RuntimeError):
        folder().mkdir(parents=True, exist_ok=True)
        place = folder() / f"{key}.{os.getpid()}"
        place.write_bytes(hashlib.sha256(code).digest() + code)
        place.replace(folder() / key)
        kept = sorted(folder().iterdir(), key=lambda path: path.stat().st_mtime)
        for old in kept[: max(len(kept) - MOST, 0)]:
            old.unlink(missing_ok=True)
