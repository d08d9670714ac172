"""A few threads that work on the parts of a batch of pictures, as many as PyTorch itself would use.

Changing pictures is many small operations; PyTorch shares each of them among its threads, which then wait for each other. Here each
thread has parts of its own from start to end, and PyTorch's operations inside of it are not shared once more. What comes out does
not depend on how many threads there are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


def each_of(work: Callable[[A], B], parts: Sequence[A]) -> list[B]:
    """`work` of each part, in their order."""
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) < 2:
        return [work(part) for part in parts]
    return list(_pool(threads, os.getpid()).map(work, parts))


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process (a fork has none of its parent's), for each of which PyTorch has one thread."""
    together = threading.Barrier(threads)

    def begin() -> None:
        torch.set_num_threads(1)  # of this thread, and of those that begin later: therefore the line before the return
        torch.get_num_threads()  # PyTorch asks a thread once how many it has
        together.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures", initializer=begin)
    for started in [pool.submit(int) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(threads)
    return pool
