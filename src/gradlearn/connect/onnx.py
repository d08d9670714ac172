"""A trained module as an ONNX file: written by torch, read back by ONNX Runtime, and compared on real examples.

    data = write(module, example, "pictures", ("probabilities", "logits"), about);   disagreement(data, module, example)

`about` goes into the file's metadata, each entry as JSON. The exporter is the one by tracing (`dynamo=False`): of torch 2.6 to 2.13
both have it, it takes half a second where the one by `torch.export` takes eight, and it needs the package onnx alone. Use it to run
a model where there is no Python or no torch: https://onnx.ai, https://onnxruntime.ai. To go on training, keep the run folder.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble, printable

OPSET = 17  # ONNX of 2022: every runtime of the last years reads it
OPSETS = range(11, 21)  # that torch's exporter knows and a batch of any size can be said in
TRACED = 2  # examples that are traced; with one, its size would be taken for a constant


def require() -> None:
    """Raise InputTrouble, with the command that installs it, where onnx or onnxruntime is missing."""
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise InputTrouble(f"export --to onnx needs {name!r}; install it with: pip install 'gradlearn[onnx]'") from None


def write(
    module: nn.Module,
    example: Tensor,
    name: str,
    outputs: Sequence[str],
    about: Mapping[str, Any],
    opset: int = OPSET,
    batch: int | None = None,
) -> bytes:
    """The bytes of an ONNX file.

    Args:
        module: takes one tensor (n, ...), gives a tensor or a tuple of them, (n, ...) each; on the processor.
        example: (n, ...), n at least 1, of the type that the file shall take.
        name: of the input.
        outputs: a name for each output.
        about: what a reader must know: JSON values, kept in the metadata.
        opset: of ONNX, 11 to 20.
        batch: examples that it takes at once; None: any number.

    Raises:
        InputTrouble: the module does something that ONNX has no word for.
    """
    require()
    if opset not in OPSETS:
        raise InputTrouble(f"--opset {opset}: must be {OPSETS.start} to {OPSETS.stop - 1}")
    n = TRACED if batch is None else batch
    x = example[torch.arange(n) % len(example)].contiguous()
    free = {} if batch else {key: {0: "n"} for key in (name, *outputs)}
    file = io.BytesIO()
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                module.eval(),
                (x,),
                file,  # pyright: ignore[reportArgumentType]  # torch's own stub knows paths only
                input_names=[name],
                output_names=list(outputs),
                dynamic_axes=free,
                opset_version=opset,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        what = printable(str(error).strip().splitlines()[0], 200)
        raise InputTrouble(f"export: torch cannot write this model as ONNX ({what}); try another --opset") from error
    return _labelled(file.getvalue(), about)


def _labelled(data: bytes, about: Mapping[str, Any]) -> bytes:
    """The same file with metadata; checked against the rules of ONNX."""
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()})
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter has to say of itself is for torch's developers."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def disagreement(data: bytes, module: nn.Module, example: Tensor) -> float:
    """The largest difference between what ONNX Runtime and the module give, relative where an output is above 1.

    The examples go in as many at once as the file takes: one by one, and all together, where it takes any number.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    sizes = {len(example), 1} if isinstance(taken.shape[0], str) else {taken.shape[0]}
    worst = 0.0
    with torch.no_grad():
        for size in sizes:
            for x in example[torch.arange(-(-len(example) // size) * size) % len(example)].split(size):
                theirs = session.run(None, {taken.name: x.numpy()})
                ours = module(x)
                for a, b in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
                    gap = (a - torch.from_numpy(b)).abs() / a.abs().clamp_min(1.0)
                    worst = max(worst, float(gap.nan_to_num(nan=torch.inf).max()))
    return worst
