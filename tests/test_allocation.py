"""Allocation: what was freed is used again, without a fault for each page; a word of the user about it stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gradlearn.allocation import spoken

ROUNDS = """
import resource, sys
from contextlib import ExitStack
import torch
from gradlearn.allocation import kept
torch.set_num_threads(1)

def faults(rounds=5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        held = [torch.ones(4_000_000) for _ in range(8)]
        del held
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / rounds

with ExitStack() as stack:
    agreed = stack.enter_context(kept()) if sys.argv[1] == "keep" else None
    faults()
    inside = faults()
print(agreed, inside, faults(1))
"""


def played(how: str, **environment: str) -> tuple[str, float, float]:
    """(what `kept` said, faults of a round that asks for 128 MB and frees them while it lasts, of the first afterwards)."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    command = [sys.executable, "-c", ROUNDS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment)
    agreed, inside, afterwards = done.stdout.split()
    return agreed, float(inside), float(afterwards)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done where there is no glibc")
def test_memory_that_was_freed_comes_back_without_faults_while_it_is_kept():
    usual = played("leave", MALLOC_TRIM_THRESHOLD_="131072")[1]
    agreed, inside, afterwards = played("keep")
    assert usual > 50, "all goes back at once: the pages are new in each round, 4 KiB or 2 MiB each"
    assert agreed == "True"
    assert inside < 0.02 * usual
    assert afterwards > 0.5 * usual


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done where there is no glibc")
def test_what_was_kept_goes_back_at_the_end_and_not_before_that_of_the_outermost():
    code = """
import torch
from gradlearn.allocation import kept

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

with kept():
    with kept() as agreed:
        held = [torch.ones(4_000_000) for _ in range(8)]
        full = resident()
        del held
    lies = resident()
print(agreed, full - lies, full - resident())
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean)
    agreed, within, after = done.stdout.split()
    assert agreed == "True"
    assert float(within) < 20 < 100 < float(after)  # MB, of 128


def test_what_the_user_says_of_the_allocator_stands():
    assert played("keep", MALLOC_TOP_PAD_="0")[0] == "False"
    for said in ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}, {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}):
        assert spoken(said)
    assert not spoken({"GLIBC_TUNABLES": "glibc.cpu.x86_shstk=on", "LD_PRELOAD": "libfaketime.so", "PATH": "/malloc"})
    assert not spoken({"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}), "of something else"


def test_a_fit_keeps_memory_while_it_trains_and_an_import_changes_nothing():
    code = """
import torch
import gradlearn
from gradlearn import allocation
assert allocation.c_library.cache_info().currsize == 0
seen = []
data = torch.randn(64, 2), torch.randn(64, 1)
gradlearn.fit(torch.nn.Linear(2, 1), data, "mse", steps=2, show=lambda d, step: seen.append(len(allocation.within)))
print(seen, allocation.within)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1, 1] []\n"
