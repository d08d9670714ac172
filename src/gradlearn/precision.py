"""Whether arithmetic of half precision pays on this machine: measured, since processors differ tenfold.

    bfloat16  where  seconds(conv, float32) / seconds(conv, bfloat16) >= ENOUGH

Weights, norms' statistics, updates and losses stay float32; a network with a `precision` computes the rest in half (autocast). A
processor with AMX or a recent GPU gains two to four times on convolutions; one without loses as much.
"""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F

ENOUGH = 1.3  # times as fast: less is lost on all that is no convolution


def precision(device: str) -> tuple[str, str]:
    """(precision, why): half where convolutions of half precision are ENOUGH times as fast here as those of float32."""
    clock = time.process_time if device == "cpu" else time.perf_counter  # of this process: others may be busy
    x, weight = torch.randn(32, 64, 16, 16), torch.randn(64, 64, 3, 3)
    took: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (t.to(device, dtype, memory_format=torch.channels_last) for t in (x, weight))
        for _ in range(6):
            begin = clock()
            F.conv2d(a, b, padding=1).flatten()[0].item()
            took[dtype] = min(took.get(dtype, math.inf), clock() - begin)
    times = took[torch.float32] / took[torch.bfloat16]
    return "bfloat16" if times >= ENOUGH else "float32", f"convolutions of half precision are {times:.2g} times as fast here"
