"""Parameter shift: layers that can only be measured, each angle moved up and down by a declared amount; backprop around them.

    f(a) = c_0 + sum_l c_l cos(W_l a) + d_l sin(W_l a)
    f'(a) = sum_m w_m (f(a + s_m) - f(a - s_m)),     2 sum_m w_m sin(W_l s_m) = W_l

Exact, not a difference quotient: Mitarai et al. 2018; several frequencies W: Wierichs et al., Quantum 6, 2022. What is measured is
the Jacobian of the layer's output, so the loss around it may be anything. `ShiftLayer` is such a layer for any module; the
estimator is backprop with, on its first batch, a check that each layer is what it was declared to be. Two evaluations for each
angle and frequency: for circuits and simulators without a derivative; what autograd can see is cheaper by `backprop`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gradlearn.curvature import reverse
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Batch, Estimate, Objective
from gradlearn.theta import Theta

__all__ = ["ParameterShift", "ShiftLayer", "shifts"]
Declared = Callable[[Tensor, Any], Tensor]  # (angles (k,), inputs (n, m) or None) -> outputs (n, ...)


class ParameterShift:
    """Backprop through a model whose `ShiftLayer`s measure their own Jacobians.

    Args:
        check: whether each layer's declared frequencies are tried on the first batch: wrong ones are refused.
    """

    def __init__(self, *, check: bool = True) -> None:
        self.check = check
        self._checked: set[int] = set()

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate:
        """Leave g in `.grad`; return the loss of the batch and ||g||."""
        estimate = reverse(objective, theta, batch)
        for name, layer in theta.model.named_modules():
            if self.check and isinstance(layer, ShiftLayer) and id(layer) not in self._checked:
                layer.check(name)
                self._checked.add(id(layer))
        return estimate


class ShiftLayer(nn.Module):
    """A declared function as a layer: (n, m) inputs -> its outputs, differentiable in its angles and, if asked, its inputs.

    Attributes:
        angles: (k,) the parameters.
        evaluations: of the function so far.

    Args:
        function: (angles (k,), inputs) -> outputs (n, ...); never differentiated. An output belongs to the input of its row.
        angles: where they start, (k,).
        frequencies: of every angle, above 0 and different: 1 for a rotation exp(-i a P / 2) with P^2 = 1.
        inputs: whether the inputs are angles of the same frequencies too, with a gradient for the layers before.
    """

    def __init__(self, function: Declared, angles: Tensor, *, frequencies: Sequence[float] = (1.0,), inputs: bool = False) -> None:
        super().__init__()
        if angles.ndim != 1 or not angles.is_floating_point():
            raise InputTrouble(f"angles: expected a vector of real numbers, got {angles.dtype} {tuple(angles.shape)}")
        self.function, self.inputs, self.frequencies = function, inputs, tuple(frequencies)
        self.rule = shifts(self.frequencies)
        self.angles = nn.Parameter(angles.detach().clone())
        self.evaluations = 0
        self._last: Tensor | None = None

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The outputs for these inputs."""
        self._last = None if x is None else x.detach()
        if x is not None and not self.inputs and x.requires_grad:
            raise InputTrouble("ShiftLayer: its inputs come from layers that are trained; give inputs=True")
        return _Shift.apply(self.angles, x, self)  # pyright: ignore[reportReturnType]

    def measure(self, angles: Tensor, x: Tensor | None) -> Tensor:
        """One evaluation of the function, out of autograd's sight."""
        self.evaluations += 1
        with torch.no_grad():
            return self.function(angles, x)

    def check(self, name: str = "") -> None:
        """Raises InputTrouble where the function is no sum of sinusoids of the declared frequencies in some angle."""
        angles, x = self.angles.detach(), self._last
        terms = 2 * len(self.frequencies) + 1
        points = torch.arange(terms + 3, dtype=torch.float64) * (2 * math.pi / min(self.frequencies) / (terms + 3.5))
        columns = [torch.ones_like(points), *(f(w * points) for w in self.frequencies for f in (torch.cos, torch.sin))]
        basis = torch.stack(columns, 1)
        for j in range(len(angles)):
            seen = torch.stack([self.measure(_moved(angles, j, float(p)), x).double().flatten() for p in points])
            away = seen - basis @ torch.linalg.lstsq(basis, seen).solution
            limit = 1e-3 if angles.dtype == torch.float32 else 1e-6
            if float(away.abs().max()) > limit * max(float(seen.abs().max()), 1e-6):
                raise InputTrouble(
                    f"model: layer {name or 'ShiftLayer'!r} is no sum of sinusoids of frequencies {self.frequencies} in angle {j}; "
                    "declare its true frequencies"
                )


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor, x: Tensor | None, layer: ShiftLayer) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(angles, x)
        return layer.measure(angles, x)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] # once_differentiable hides the names
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        (angles, x), layer, grad = ctx.saved_tensors, ctx.layer, grads[0]
        to_angles = to_inputs = None
        if ctx.needs_input_grad[0]:
            to_angles = torch.stack([(grad * _slope(layer, angles, x, j, None)).sum() for j in range(len(angles))]).to(angles)
        if x is not None and ctx.needs_input_grad[1]:
            columns = [(grad * _slope(layer, angles, x, None, j)).flatten(1).sum(1) for j in range(x.shape[1])]
            to_inputs = torch.stack(columns, 1).to(x)
        return to_angles, to_inputs, None


def _slope(layer: ShiftLayer, angles: Tensor, x: Tensor | None, angle: int | None, column: int | None) -> Tensor:
    """The derivative of all outputs by one angle, or of each row's outputs by one column of its inputs."""
    total: Any = 0.0
    for s, w in layer.rule:
        up, down = (layer.measure(_moved(angles, angle, t), _shifted(x, column, t)) for t in (s, -s))
        total = total + w * (up - down)
    return total


def _moved(angles: Tensor, j: int | None, by: float) -> Tensor:
    if j is None:
        return angles
    moved = angles.clone()
    moved[j] += by
    return moved


def _shifted(x: Tensor | None, column: int | None, by: float) -> Tensor | None:
    if x is None or column is None:
        return x
    moved = x.clone()
    moved[:, column] += by
    return moved


def shifts(frequencies: Sequence[float]) -> list[tuple[float, float]]:
    """[(s, w)]: shifts and weights of the exact derivative for these frequencies; one pair for each.

    Raises:
        InputTrouble: none, not above 0, or two equal ones.
    """
    wanted = torch.tensor(sorted(frequencies), dtype=torch.float64)
    if len(wanted) == 0 or not bool((wanted > 0).all()) or len(set(frequencies)) < len(wanted):
        raise InputTrouble(f"frequencies {tuple(frequencies)}: expected different numbers above 0, as (1.0,) for a rotation")
    r = len(wanted)
    best: tuple[float, Tensor, Tensor] | None = None
    unit = (2 * torch.arange(r, dtype=torch.float64) + 1) * math.pi / (2 * r)
    for scale in [float(w) / k for w in wanted for k in range(1, r + 1)]:  # equidistant frequencies: their distance is among these
        s = unit / scale
        A = 2 * torch.sin(wanted[:, None] * s)
        condition = float(torch.linalg.cond(A))
        if math.isfinite(condition) and (best is None or condition < best[0] * (1 - 1e-9)):
            best = (condition, s, A)
    if best is None or best[0] > 1e8:
        raise InputTrouble(f"frequencies {tuple(frequencies)}: no shifts tell them apart; are two of them nearly equal?")
    weights = torch.linalg.solve(best[2], wanted)
    return list(zip(best[1].tolist(), weights.tolist(), strict=True))
