"""The first steps of a descent, listened to: what they are made of, and whether they are the same.

`heard_once` is for the forecast, with the kernels that an eager step takes; `heard_twice` for a program.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from gradlearn import chance
from gradlearn.program import gradient
from gradlearn.program.unfit import Unfit
from gradlearn.symbols import Batch

if TYPE_CHECKING:
    from gradlearn.loop import Descent


class Sound(NamedTuple):
    """What one step is made of."""

    operations: int
    bytes: float  # that they read and write
    parts: int  # operations that a program has to be made of: more, where some are layers of many steps
    flop: float  # of products and convolutions
    calls: int  # operations that a program leaves to PyTorch: convolutions


def heard_once(d: Descent, short: bool = False) -> Sound:
    """How many operations one step is made of, and what they move. Raises Unfit: also, in a `short` run, for recurrent layers that
    the library does as a whole, and well.
    """
    batch = d.data(d.batches(d.now()), chance.key(d.seed, "batch", d.t))
    if not isinstance(batch, Batch):
        raise Unfit("passes its batch in parts")
    with training(d.theta.model):
        heard = gradient.hear(d.objective, d.theta, batch, as_is=True)
        whole_layers = any(op.name.startswith("mkldnn_rnn_layer") for op in heard.recording.ops)
        if whole_layers and short:
            raise Unfit("has recurrent layers that the library does as a whole; the run is short for others")
        ops = (gradient.hear(d.objective, d.theta, batch) if whole_layers else heard).recording.ops
        calls = sum(op.name.startswith("convolution") for op in ops)
        return Sound(len(heard.recording.ops), heard.bytes(), len(ops), sum(map(gradient.flop, ops)), calls)


@contextmanager
def training(model: Any) -> Iterator[None]:
    """Inside, the module is in training mode; afterwards every part of it is in the mode it was in."""
    modes = [(m, m.training) for m in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def heard_twice(d: Descent) -> tuple[gradient.Heard, Batch]:
    """The first step of the descent and the one after it, listened to and compared."""
    batches = []
    for k in range(2):
        now = d.now()._replace(t=d.t + k, seen=d.seen + k * d.batches.size)
        batches.append(d.data(d.batches(now), chance.key(d.seed, "batch", now.t)))
    if not isinstance(batches[0], Batch):
        raise Unfit("passes its batch in parts")
    gradient.hear(d.objective, d.theta, batches[0])  # what is made once and kept is made now
    first, second = (gradient.hear(d.objective, d.theta, batch) for batch in batches)
    gradient.alike(first, second, d.theta)
    return first, batches[0]
