"""Is this machine set up: what is installed, and how fast is it? A few seconds."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from typing import Any

NEEDED = ("torch", "numpy", "rich", "tomli-w")
EXTRAS = {"pillow": "images", "pyarrow": "images", "scikit-learn": "images", "pyyaml": "detect", "faster-coco-eval": "detect"}
EXTRAS |= {"onnx": "onnx", "onnxruntime": "onnx"}


def inspect() -> list[dict[str, Any]]:
    """Rows {"what", "ok", "needed", "found"}."""
    version = sys.version_info[:2]
    rows = [_row("python", (3, 11) <= version < (3, 14), True, platform.python_version())]
    for name in NEEDED:
        rows.append(_row(name, *_installed(name, True, "pip install gradlearn")))
    for name, extra in EXTRAS.items():
        rows.append(_row(name, *_installed(name, False, f"for {extra}: pip install 'gradlearn[{extra}]'")))
    if all(row["ok"] for row in rows if row["needed"]):
        rows += _speed()
    return rows


def _row(what: str, ok: bool, needed: bool, found: str) -> dict[str, Any]:
    return {"what": what, "ok": ok, "needed": needed, "found": found}


def _installed(name: str, needed: bool, hint: str) -> tuple[bool, bool, str]:
    try:
        return True, needed, importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False, needed, f"not installed; {hint}"


def _speed() -> list[dict[str, Any]]:
    import torch

    from gradlearn.run import machine

    about = machine()
    rows = [_row("processor", True, False, f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads")]
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none; training runs on the processor"
    rows.append(_row("accelerator", True, False, cuda))
    a = torch.randn(1024, 1024)
    rows.append(_row("matrix products", True, False, f"{2 * 1024**3 / _seconds(lambda: a @ a) / 1e9:,.0f} GFLOP/s, float32"))
    b = torch.zeros(25_000_000)
    rows.append(_row("memory", True, False, f"{2 * b.nbytes / _seconds(lambda: b.mul_(1.0)) / 1e9:,.1f} GB/s"))
    return rows


def _seconds(work: Any) -> float:
    """Median of five runs after one that does not count."""
    work()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[2]
