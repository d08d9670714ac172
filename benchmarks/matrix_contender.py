"""One update on one set of tensors, in a process of its own: reads a number of steps from a line, answers with their seconds.

    matrix_contender.py NAME CASE      NAME as in `MAKERS`, CASE as in `CASES`

For `matrix_updates.py`, which runs it under our interpreter or that of the peers. The seconds are processor time of this one
thread, which on a quiet machine is the time on the clock, and on a busy one still the time of this process.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def resnet() -> list[Shape]:
    """ResNet-20 of CIFAR-10: 19 convolutions, their norms, one linear layer."""
    shapes: list[Shape] = [(16, 3, 3, 3), (16,), (16,)]
    width = 16
    for stage in (16, 32, 64):
        for _ in range(3):
            shapes += [(stage, width, 3, 3), (stage,), (stage,), (stage, stage, 3, 3), (stage,), (stage,)]
            width = stage
    return [*shapes, (10, 64), (10,)]


CASES: dict[str, list[Shape]] = {
    "mlp": [(512, 784), (512,), (512, 512), (512,), (10, 512), (10,)],
    "resnet": resnet(),
    "gru": [(768, 128), (768, 256), (768,), (768,), (768, 256), (768, 256), (768,), (768,), (10, 256), (10,)],
    "small": [(25, 40)] * 500,
}
BETAS = (0.95, 0.95)


def ours(name: str, params: list[Any], **options: Any) -> Any:
    """An update of ours, every tensor in one group."""
    from gradlearn.find import find

    return find("update", name)(params, lr=1e-4, **options)


def gates(name: str, params: list[nn.Parameter], **options: Any) -> Any:
    """An update of ours, each gate of the GRU's weights a matrix of its own."""
    return ours(name, [{"params": [p], "parts": 3 if p.ndim == 2 and p.shape[0] == 768 else 1} for p in params], **options)


def torch_muon(params: list[nn.Parameter], exact: bool = False) -> Any:
    """torch's Muon takes matrices only: kernels are flattened, biases are stepped by torch's fused AdamW."""
    if exact:
        Tensor.bfloat16 = lambda self: self.clone()  # type: ignore[method-assign]
    matrices = [p for p in params if p.ndim == 2]
    rest = [p for p in params if p.ndim < 2]
    return torch.optim.Muon(matrices, lr=1e-4), torch.optim.AdamW(rest, lr=1e-4, fused=True) if rest else None


def po_muon(params: list[nn.Parameter], exact: bool = False) -> Any:
    """pytorch_optimizer's Muon, biases by its AdamW."""
    from pytorch_optimizer import Muon  # pyright: ignore[reportMissingImports]
    from pytorch_optimizer.optimizer.muon import base  # pyright: ignore[reportMissingImports]

    if exact:
        base.zero_power_via_newton_schulz_5 = functools.partial(base.zero_power_via_newton_schulz_5, dtype=torch.float32)
    groups = [{"params": [p for p in params if (p.ndim > 1) is wide], "use_muon": wide} for wide in (True, False)]
    return Muon([group for group in groups if group["params"]], lr=1e-4)


def heavyball(name: str, params: list[nn.Parameter], exact: bool = False, **options: Any) -> Any:
    """heavyball without its compiler, which needs one of C++."""
    import heavyball  # pyright: ignore[reportMissingImports]

    heavyball.utils.compile_mode = heavyball.utils.compile_mode_recommended_to_none = None
    if exact:
        heavyball.utils.stochastic_round_ = lambda x, *_: x.clone()
    return getattr(heavyball, name)(params, lr=1e-4, **options)


def po_soap(params: list[nn.Parameter]) -> Any:
    """pytorch_optimizer's SOAP at its authors' settings."""
    from pytorch_optimizer import SOAP  # pyright: ignore[reportMissingImports]

    return SOAP(params, lr=1e-4, betas=BETAS, precondition_frequency=10)


MAKERS: dict[str, Callable[[list[nn.Parameter]], Any]] = {
    "ours-muon": functools.partial(ours, "muon"),
    "ours-muon-gates": functools.partial(gates, "muon"),
    "torch-muon": torch_muon,
    "pytorch_optimizer-muon": po_muon,
    "heavyball-muon": functools.partial(heavyball, "MuonAdamW"),
    "torch-muon-float32": functools.partial(torch_muon, exact=True),
    "pytorch_optimizer-muon-float32": functools.partial(po_muon, exact=True),
    "heavyball-muon-float32": functools.partial(heavyball, "MuonAdamW", exact=True),
    "ours-soap": functools.partial(ours, "soap", betas=BETAS),
    "ours-soap-gates": functools.partial(gates, "soap", betas=BETAS),
    "pytorch_optimizer-soap": po_soap,
    "heavyball-soap": functools.partial(heavyball, "SOAP", betas=BETAS, precondition_frequency=10, merge_dims=False),
    "torch-adamw": functools.partial(torch.optim.AdamW, lr=1e-4, fused=True),
}


def main(name: str, case: str) -> None:
    """Answers until its stdin ends."""
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.manual_seed(0)
    shapes = [(s[0], s[1] * s[2] * s[3]) if len(s) == 4 and name.startswith("torch-muon") else s for s in CASES[case]]
    params = [nn.Parameter(0.02 * torch.randn(s)) for s in shapes]
    bank = [[0.01 * torch.randn(s) for s in shapes] for _ in range(4)]
    made = MAKERS[name](params)
    updates = [update for update in (made if isinstance(made, tuple) else (made,)) if update is not None]
    taken = 0
    for line in sys.stdin:
        seconds = 0.0
        for _ in range(int(line)):
            for p, g in zip(params, bank[taken % 4], strict=True):
                p.grad = g.clone()
            start = time.process_time()
            for update in updates:
                update.step()
            seconds += time.process_time() - start
            taken += 1
        finite = all(bool(torch.isfinite(p).all()) for p in params)
        print(json.dumps({"seconds": seconds, "finite": finite}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
