"""The objective of a run: the task's losses, and penalties on theta, on outputs or on slopes.

    L = sum_i (total_i + count_i R_i) / sum_i count_i,   R_i = the sum of the penalties, each times its own weight

A penalty on theta is one number for all examples; weighed by `count` it adds exactly itself to L, in whatever parts the batch
passes. One on outputs or slopes has a value for each example. What is logged as the loss is this L, which g is the gradient
of; scores are without penalties. A penalty is a file of `objective/` with `penalty = True`; its `wants` says what it is
called with:

    "model" -> a number;   "output", "x", "total" -> (n,) one number for each example

`output` is what the model gave for the batch; `x` the tensors it was given, which then have gradients; `total` the losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.symbols import Batch, Losses, Objective

if TYPE_CHECKING:
    from gradlearn.plan import Plan

__all__ = ["penalised", "penalties", "Penalised"]


def penalties(plan: Plan) -> list[Any]:
    """Those that the plan names, with their options."""
    return [find("objective", name)(**plan.options(name)) for name in plan.get("penalty", [])]


def penalised(objective: Objective, penalties: Sequence[Any]) -> Objective:
    """The objective with these penalties added; itself where there are none."""
    return Penalised(objective, penalties) if penalties else objective


class Penalised:
    """L with penalties, for a task of any kind.

    Args:
        objective: the task's losses.
        penalties: objects of `objective/` with `penalty = True`.
    """

    def __init__(self, objective: Objective, penalties: Sequence[Any]) -> None:
        self.inner, self.penalties = objective, list(penalties)
        self.model, self.data = objective.model, getattr(objective, "data", None)
        self.task, self.valid = getattr(objective, "task", None), getattr(objective, "valid", None)
        self.steps = getattr(objective, "steps", 0)
        self._of_x = any("x" in p.wants for p in self.penalties)
        self._of_output = any("output" in p.wants for p in self.penalties)
        for penalty in self.penalties:
            if hasattr(penalty, "begin"):
                penalty.begin(self.model)

    def __call__(self, batch: Batch) -> Losses:
        """The task's losses of this batch, each with its share of the penalties."""
        known: dict[str, Any] = {"model": self.model}
        with ExitStack() as stack:
            if self._of_x:
                stack.enter_context(differentiable_twice())
                batch, known["x"] = with_slopes(batch)
            outputs = stack.enter_context(_outputs(self.model)) if self._of_output else []
            losses = self.inner(batch)
            known["total"] = losses.total
            if self._of_output:
                if not outputs:
                    raise InputTrouble("--penalty: the task never calls its model as a whole, so there is no output to look at")
                known["output"] = outputs[-1]
            more = sum(penalty(*(known[name] for name in penalty.wants)) for penalty in self.penalties)
        # outside, so that who only evaluates gets no graph; and in the losses' precision, which a count in float32 would round
        return losses._replace(total=losses.total + losses.count.to(losses.total.dtype) * more)

    def state(self) -> dict[str, Tensor]:
        """What penalties keep, such as the point that `distance` measures from."""
        return {f"{i}.{k}": v for i, p in enumerate(self.penalties) if hasattr(p, "state") for k, v in p.state().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for i, penalty in enumerate(self.penalties):
            own = {k.removeprefix(f"{i}."): v for k, v in state.items() if k.startswith(f"{i}.")}
            if own:
                penalty.load(own)


@contextmanager
def _outputs(model: nn.Module) -> Iterator[list[Any]]:
    """Inside, what the model as a whole gives, call by call."""
    found: list[Any] = []
    handle = model.register_forward_hook(lambda module, x, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Inside, gradients are recorded, and attention takes the kernel that can be differentiated twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def with_slopes(batch: Batch) -> tuple[Batch, list[Tensor]]:
    """The batch with inputs that have gradients, and those inputs. Bytes (pictures) become floats.

    Raises:
        InputTrouble: no input is a number that can change a little.
    """
    leaves: list[Tensor] = []

    def opened(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: opened(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(opened(v) for v in value)
        if isinstance(value, Tensor) and (value.is_floating_point() or value.dtype == torch.uint8):
            leaves.append((value if value.is_floating_point() else value.float()).detach().requires_grad_())
            return leaves[-1]
        return value

    x = opened(batch.x)
    if not leaves:
        raise InputTrouble("--penalty: the inputs are whole numbers, they have no slopes; leave input_gradient and jacobian out")
    return Batch(x, batch.y, batch.index, batch.draw), leaves
