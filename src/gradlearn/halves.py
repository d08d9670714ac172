"""Do 16-bit products pay on this machine? A convolution is timed, forward and backward, in float32 and under bfloat16 autocast.

Processors with units for matrices of bfloat16 (AMX, from 2023) are three to four times as fast; those without are slower than in
float32. bfloat16 has float32's range, so that nothing needs to be scaled; weights, sums and norms stay float32.
"""

from __future__ import annotations

import time

import torch
from torch import nn

PAYS = 1.3  # times as fast


def halves_pay(device: str = "cpu") -> tuple[bool, str]:
    """(whether they do, why)."""
    seconds = [_seconds(device, bf16) for bf16 in (False, True)]
    ratio = seconds[0] / seconds[1]
    return ratio > PAYS, f"a convolution is {ratio:.2g} times as fast in bfloat16 as in float32 here"


def _seconds(device: str, bf16: bool) -> float:
    """The quickest of four convolutions, forward and backward; the weights are no part of any model."""
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False, device=device).to(memory_format=torch.channels_last)
    nn.init.constant_(conv.weight, 0.01)
    x = torch.ones(4, 64, 40, 40, device=device).to(memory_format=torch.channels_last).requires_grad_()
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            y = conv(x)
        y.backward(torch.ones_like(y))
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
