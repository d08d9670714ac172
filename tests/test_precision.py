from __future__ import annotations

import torch

from gradlearn import precision as module
from gradlearn.precision import precision


def test_half_precision_is_chosen_where_it_is_quicker_by_enough(monkeypatch):
    half = [False]
    now = [0.0]

    def conv(a: torch.Tensor, b: torch.Tensor, padding: int) -> torch.Tensor:
        half[0] = a.dtype == torch.bfloat16
        now[0] += 1.0 / times if half[0] else 1.0
        return torch.zeros(1)

    monkeypatch.setattr(module.F, "conv2d", conv)
    monkeypatch.setattr(module.time, "process_time", lambda: now[0])
    for times, chosen in ((4.0, "bfloat16"), (1.2, "float32"), (0.3, "float32")):
        assert precision("cpu")[0] == chosen
        assert f"{times:.2g} times" in precision("cpu")[1]
