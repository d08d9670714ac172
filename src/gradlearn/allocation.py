"""Memory that a step has freed is kept for the next one, which asks for the same again.

    mallopt(trim from 1 GiB on, or a sixteenth of the machine's memory; map blocks from 32 MiB on)    Linux with glibc alone

A step of a convolutional network asks for hundreds of MB and frees them at its end. The C library gives the top of its heap back to
the system, and each page that comes again is made zero and costs a fault: 5 to 30 % of a training step, as
`benchmarks/kept_memory.py` measures. What PyTorch's tuning guide gets from another allocator, without one. Not where the
environment says something of that: MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES, another allocator in LD_PRELOAD. For the whole
process, and for as long as it lives.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["give_back", "keep"]

TRIM, MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
ABOUT = ("trim_threshold", "top_pad", "mmap_threshold", "mmap_max")
MOST, SHARE = 1 << 30, 16  # bytes that may lie unused, and so many parts of the memory there is
BLOCK = 1 << 25  # bytes, the most that glibc takes


@cache
def keep() -> bool:
    """Ask the C library, once; whether it agreed. Numbers that are computed stay the same to the bit."""
    if not sys.platform.startswith("linux") or spoken(os.environ):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    unused = min(MOST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE)
    return library.mallopt(TRIM, unused) == 1 and library.mallopt(MAP, BLOCK) == 1


def give_back() -> None:
    """All that is kept and unused goes back to the system: before and after training, which asks for other sizes than the rest."""
    if keep.cache_info().currsize and keep():
        ctypes.CDLL(None).malloc_trim(0)


def spoken(environment: os._Environ[str] | dict[str, str]) -> bool:
    """Whether the user has said what is to be kept, or put another allocator in its place."""
    told = environment.get("GLIBC_TUNABLES", "")
    return any(
        f"MALLOC_{name.upper()}_" in environment or f"glibc.malloc.{name}=" in told for name in ABOUT
    ) or "alloc" in environment.get("LD_PRELOAD", "")
