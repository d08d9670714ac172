"""Allocation: what was freed is used again, without a fault for each page; a word of the user about it stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gradlearn.allocation import keep, spoken

ROUNDS = """
import resource, sys
import torch
from gradlearn.allocation import keep
torch.set_num_threads(1)
kept = keep() if sys.argv[1] == "keep" else None

def faults(rounds=5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        held = [torch.ones(4_000_000) for _ in range(8)]
        del held
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / rounds

faults()
print(kept, faults())
"""


def played(how: str, **environment: str) -> tuple[str, float]:
    """(what `keep` said, faults of a round that asks for 128 MB and frees them)."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    command = [sys.executable, "-c", ROUNDS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment)
    kept, faults = done.stdout.split()
    return kept, float(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done where there is no glibc")
def test_memory_that_was_freed_comes_back_without_faults():
    before, after = played("leave", MALLOC_TRIM_THRESHOLD_="131072")[1], played("keep")
    assert before > 50, "all goes back at once: the pages are new in each round, 4 KiB or 2 MiB each"
    assert after[0] == "True"
    assert after[1] < 0.02 * before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done where there is no glibc")
def test_what_is_kept_goes_back_when_it_is_asked_for():
    code = """
import torch
from gradlearn.allocation import give_back, keep

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

assert keep()
held = [torch.ones(4_000_000) for _ in range(8)]
full = resident()
del held
kept = resident()
give_back()
print(full - kept, full - resident())
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean)
    kept, given = map(float, done.stdout.split())
    assert kept < 20 < 100 < given  # MB, of 128


def test_what_the_user_says_of_the_allocator_stands():
    assert played("keep", MALLOC_TOP_PAD_="0")[0] == "False"
    for said in ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}, {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}):
        assert spoken(said)
    assert not spoken({"GLIBC_TUNABLES": "glibc.cpu.x86_shstk=on", "LD_PRELOAD": "libfaketime.so", "PATH": "/malloc"})
    assert not spoken({"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}), "of something else"


def test_a_fit_asks_for_it_where_it_trains_on_a_processor():
    code = """
import torch
import gradlearn
from gradlearn.allocation import keep
assert keep.cache_info().currsize == 0, "an import changes nothing in a process of others"
gradlearn.fit(torch.nn.Linear(2, 1), (torch.randn(64, 2), torch.randn(64, 1)), "mse", steps=2)
print(keep.cache_info().misses)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_it_is_asked_once():
    assert keep() is keep()
    assert keep.cache_info().misses == 1
