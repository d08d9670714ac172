"""Memory that a step has freed is kept for the next one, which asks for the same again.

    with kept(): train        mallopt(trim from 1 GiB on, or a sixteenth of the memory; map blocks from 32 MiB on), glibc alone

A step of a convolutional network asks for hundreds of MB and frees them at its end. The C library gives the top of its heap back to
the system, and each page that comes again is made zero and costs a fault: 5 to 30 % of a training step, as
`benchmarks/kept_memory.py` measures. What PyTorch's tuning guide gets from another allocator, without one. Not where the
environment says something of that: MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES, another allocator in LD_PRELOAD. For the whole process
while a training lasts; then all that is unused goes back, and what comes after keeps about what it would have kept without.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["kept"]

TRIM, MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
ABOUT = ("trim_threshold", "top_pad", "mmap_threshold", "mmap_max")
MOST, SHARE = 1 << 30, 16  # bytes that may lie unused, and so many parts of the memory there is
BLOCK = 1 << 25  # bytes, the most that glibc takes
AFTER = 1 << 22  # bytes of a block that is mapped for itself when training is over; twice that may lie at the top
within: list[bool] = []  # one for each `kept` that has not ended: the outermost decides


@contextmanager
def kept() -> Iterator[bool]:
    """Ask the C library; gives whether it agreed. At the end all that is unused goes back to the system.

    Numbers that are computed stay the same to the bit. Within another `kept` nothing changes.
    """
    library = c_library()
    if library is None:
        yield False
        return
    if not within:
        unused = min(MOST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE)
        library.malloc_trim(0)
        library.mallopt(TRIM, unused)
        library.mallopt(MAP, BLOCK)
    within.append(True)
    try:
        yield True
    finally:
        within.pop()
        if not within:
            library.mallopt(TRIM, 2 * AFTER)
            library.mallopt(MAP, AFTER)
            library.malloc_trim(0)


@cache
def c_library() -> ctypes.CDLL | None:
    """glibc, where there is one and the user says nothing of what it keeps."""
    if not sys.platform.startswith("linux") or spoken(os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def spoken(environment: os._Environ[str] | dict[str, str]) -> bool:
    """Whether the user has said what is to be kept, or put another allocator in its place."""
    told = environment.get("GLIBC_TUNABLES", "")
    return any(
        f"MALLOC_{name.upper()}_" in environment or f"glibc.malloc.{name}=" in told for name in ABOUT
    ) or "alloc" in environment.get("LD_PRELOAD", "")
