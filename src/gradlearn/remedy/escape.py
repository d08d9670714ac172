"""Escape: away from a saddle along the direction in which the loss curves down.

    H v = lambda v, lambda < 0 the smallest;    theta <- theta + s t v,    t doubled while L(theta + s t v) falls, s = +1 or -1

The loss is that of one sample of `examples`, in evaluation mode, its curvature by Lanczos. Gradient descent leaves a saddle too, in
a time that can be any: at rate eta a distance grows by 1 + eta |lambda| a step (Lee et al., COLT 2016; Jin et al., ICML 2017).
Where there is no direction of negative curvature nothing is moved. A few hundred gradients of the sample, at most `most` times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gradlearn import chance
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Action, Controls, Finding, History, Objective, Update
from gradlearn.theta import Theta

__all__ = ["Escape"]

DOUBLINGS = 24


class Escape:
    """Answers a saddle.

    Args:
        examples: of the sample whose curvature is looked at.
        products: Hessian-vector products at most.
        most: escapes in one run.
        negative: share of the largest curvature that the smallest must be below zero.
    """

    answers = ("saddle",)
    order = 40

    def __init__(self, *, examples: int = 256, products: int = 60, most: int = 3, negative: float = 1e-3) -> None:
        for name, value, least in (("examples", examples, 1), ("products", products, 2), ("most", most, 1)):
            if value < least:
                raise InputTrouble(f"--escape.{name} {value}: must be at least {least}")
        self.examples, self.products, self.most, self.negative = examples, products, most, negative

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None:
        """One action, carried out by `enact`; None after `most` of them."""
        if history.count("escape") >= self.most:
            return None
        return [Action(finding.t, "escape", "a step along the direction of negative curvature")]

    def enact(self, action: Action, theta: Theta, objective: Objective, update: Update) -> Action:
        """Look for the direction, go as far along it as the loss falls; the action with what came of it."""
        if objective.data is None:
            return replace(action, why="nothing was moved: no data to look at the curvature of")
        try:
            found = self._way_down(objective, action.t)
        except (RuntimeError, NotImplementedError, InputTrouble) as error:
            return replace(action, why=f"nothing was moved: {str(error).splitlines()[0][:120]}")
        if isinstance(found, str):
            return replace(action, why=f"nothing was moved: {found}")
        move, names, why = found
        sizes = {m.name: m.param.numel() for m in theta.members}
        pieces = dict(zip(names, move.split([sizes[name] for name in names]), strict=True))
        with torch.no_grad():
            for m in theta.members:
                m.param.add_(pieces[m.name].view(m.param.shape).to(m.param))
        return replace(action, why=why)

    def _way_down(self, objective: Objective, t: int) -> tuple[Tensor, list[str], str] | str:
        """(how far to move, (n,), the names of its parts, what was found), or why nowhere."""
        from gradlearn.curvature import Hessian, function_of, lanczos

        data = objective.data
        assert data is not None
        rows = chance.permutation(len(data), 0, "escape", t)[: self.examples]
        f, x = function_of(objective, data(torch.from_numpy(rows.copy()), -1))
        names = [name for name, p in objective.model.named_parameters() if p.requires_grad]
        H = Hessian(f, x, check=False)
        found = lanczos(H, torch.zeros_like(x), products=self.products, room=min(self.products, 40), tol=1e-3, seed=t)
        low, high = float(found.values[0]), float(found.values.abs().max())
        if not low < -self.negative * high:
            return f"the smallest curvature found is {low:.2g}, the largest {high:.2g}"
        v, start = found.vectors[0], float(H.value)
        best, way = start, 0.0
        for sign in (1.0, -1.0):
            step = sign * 1e-3 * max(float(torch.linalg.vector_norm(x)), 1e-3)
            for _ in range(DOUBLINGS):
                with torch.no_grad():
                    value = float(f(x + step * v))
                if not value < best:
                    break
                best, way, step = value, step, 2.0 * step
            if way:
                break
        if not way:
            return f"along the curvature {low:.2g} the loss does not fall"
        why = f"curvature {low:.2g} (largest {high:.2g}): {abs(way):.3g} along it, the sample's loss {start:.4g} -> {best:.4g}"
        return way * v, names, why
