"""The compiled way of `sweep`: a formula of one coordinate becomes one loop of machine code over all tensors of a group.

numba turns the formula into vector instructions; no compiler is needed, and code once compiled is kept on disk, one file for each
formula and type of number. The tensors reach the loop as a table of addresses, so that five hundred small ones cost what one vector
does. Each operation is rounded by itself, in vectors and in what is left over at their ends: a coordinate's new value does not
depend on where it lies, nor on the number of threads. Only sums are taken in lanes. For `sweep.py` only.
"""

from __future__ import annotations

import hashlib
import os
import types
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba as nb
import numpy as np
import torch
from numba.core import config
from numba.core.errors import NumbaError
from numba.extending import register_jitable
from torch import Tensor

from gradlearn import native_parts
from gradlearn import sweep as plain
from gradlearn.native_parts import EXACT, after, copies, load, places, plus, store, stretch

_KIND = {torch.float32: (np.float32, nb.float32), torch.float64: (np.float64, nb.float64)}

Loop = Callable[..., tuple[float, ...]]


def run(
    loop: Loop,
    table: Sequence[Sequence[int]],
    sizes: Sequence[int],
    dtype: torch.dtype,
    numbers: Sequence[float],
    changed: Sequence[Tensor],
) -> list[float]:
    """Apply a loop to every coordinate.

    Args:
        loop: what `ready` gave.
        table: (columns, tensors) addresses.
        sizes: elements of each tensor.
        dtype: of all of them.
        numbers: what the formula takes after the tensors.
        changed: tensors that autograd is told have been written to.

    Returns:
        The sums of what the formula returns beyond the written values, in float64.
    """
    kind = _KIND[dtype][0]
    addresses, lengths = np.array(table, dtype=np.int64), np.array(sizes, dtype=np.int64)
    typed, total, threads = tuple(map(kind, numbers)), int(lengths.sum()), torch.get_num_threads()
    if threads == 1 or total < plain.SHARED:
        sums = list(loop(addresses, lengths, 0, total, kind(0), typed))
    else:
        cuts = [(total * i // threads) & -16 for i in range(threads)] + [total]
        pool = _pool(threads, os.getpid())
        others = [pool.submit(loop, addresses, lengths, cuts[i], cuts[i + 1], kind(0), typed) for i in range(1, threads)]
        parts = [loop(addresses, lengths, 0, cuts[1], kind(0), typed), *(other.result() for other in others)]
        sums = [float(sum(column)) for column in zip(*parts, strict=True)]
    if changed and not changed[0].is_inference():
        torch.autograd.graph.increment_version(changed)
    return sums


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="sweep")


@lru_cache(maxsize=512)
def ready(formula: plain.Formula, writes: int, reads: int, numbers: int, dtype: torch.dtype) -> Loop | None:
    """The loop of one formula, compiled or found on disk; None (and a warning) where numba does not know what the formula uses."""
    if config.DISABLE_JIT:  # pyright: ignore
        return None
    kind = _KIND[dtype][1]
    signature = (nb.int64[:, ::1], nb.int64[::1], nb.int64, nb.int64, kind, nb.types.UniTuple(kind, numbers))
    for keep in (True, False):  # a place to keep it may be missing, full or damaged
        try:
            loop = _loop(formula, writes, reads, f"{dtype} {numbers}", keep)
            loop.compile(signature)
            loop.disable_compile()
        except NumbaError as error:
            what = str(error).strip().splitlines()[0][:100]
            warnings.warn(f"{formula.__qualname__}: not compiled, plain PyTorch is used ({what})", RuntimeWarning, stacklevel=4)
            return None
        except Exception:
            if not keep:
                raise
        else:
            return loop
    return None


def _loop(formula: plain.Formula, writes: int, reads: int, kind: str, keep: bool) -> Any:
    """The loop for one formula, not yet compiled."""
    register_jitable(**EXACT)(formula)
    written, read = (0,) * writes, (0,) * reads

    def loop(table: Any, sizes: Any, begin: Any, end: Any, zero: Any, numbers: Any) -> Any:
        # coordinates [begin, end) of all tensors laid end to end
        sums = copies(after(written, formula(*(copies(written, zero) + copies(read, zero) + numbers))), 0.0)
        offset, first, columns = 0, table.ctypes.data, len(written)
        for t in range(sizes.size):
            a, b = max(begin - offset, 0), min(end - offset, sizes[t])
            while a < b:
                n = stretch(sums, b - a)
                out = places(written, first, sizes.size, 0, t, a, zero)
                given = places(read, first, sizes.size, columns, t, a, zero)
                part = copies(sums, zero)
                for i in range(n):
                    values = formula(*(load(out, i) + load(given, i) + numbers))
                    store(out, values, i)
                    part = plus(part, after(written, values))
                sums = plus(sums, part)
                a += n
            offset += sizes[t]
        return sums

    # numba names its files after the function, and numbers them without a lock: a name of its own for each content, so that two
    # processes which compile two formulas at one time cannot take each other's
    loop.__qualname__ = f"loop_{_fingerprint(formula, writes, reads, kind)}"
    return nb.njit(cache=keep, **EXACT)(loop)


def _fingerprint(formula: plain.Formula, *more: object) -> str:
    """Of all that the machine code depends on: the formula with what it refers to, its use, the processor, the versions."""
    machine = (llvm.get_host_cpu_name(), sorted(llvm.get_host_cpu_features().items()), nb.__version__, llvm.llvm_version_info)
    ways = [Path(str(module.__file__)).read_bytes() for module in (plain, native_parts)]
    return hashlib.sha256(repr((_content(formula), more, machine, ways)).encode()).hexdigest()[:24]


def _content(thing: Any) -> Any:
    """What a function does, down to the values of the names in it."""
    if not isinstance(thing, types.FunctionType):
        return repr(thing) if isinstance(thing, (int, float, bool, str, tuple, type(None))) else str(thing)
    if thing.__module__ == plain.__name__:
        return thing.__qualname__
    code = thing.__code__
    names = [n for n in code.co_names if n in thing.__globals__]
    cells = [cell.cell_contents for cell in thing.__closure__ or ()]
    consts = [c.co_code if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return (
        thing.__module__,
        thing.__qualname__,
        code.co_code,
        consts,
        code.co_names,
        code.co_varnames,
        [(n, _content(thing.__globals__[n])) for n in names],
        [_content(cell) for cell in cells],
    )
