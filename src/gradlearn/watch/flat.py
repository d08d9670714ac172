"""Flat: the loss has stopped falling before it has got anywhere. Plateau, saddle or minimum?

    in question  <=>  mean of the last w / 2 losses not below that of the w / 2 before by 2 standard errors, the rate not decayed,
                      the gradient not growing so that the run leaves by itself, and little gained since the start  (or a run so
                      long that the question costs little)
    saddle   <=>  all rows of a hidden matrix are the same, or next to zero,  or
                  H v = lambda v, lambda < 0, and L(theta + s v) is lower by a share that no step along -g gains, or ten times as
                  much as the slope makes it over that way
    plateau  <=>  neither gains anything, the loss is the same when every example is given another one's target, and was before
    minimum  <=>  neither gains anything, and it is not the same,  or the losses have been all the same for a quarter of the run
                  (not of batches at a falling rate: their noise holds the loss up, and will leave)

Curvature by Lanczos on a fixed sample; what is gained is counted on other examples. Networks have directions of negative curvature
all the time: only what can be gained along one tells a saddle. Dauphin et al., "Identifying and attacking the saddle point
problem", NeurIPS 2014. Weights that are all equal, or all zero, stay so for ever: gradients alone do not leave such a point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlearn.curvature import around
from gradlearn.errors import InputTrouble
from gradlearn.symbols import Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Flat"]

WINDOW = 400  # steps of the test for a slope at most
EXPLAINED = ("crawling", "unstable", "diverged", "vanishing", "exploding", "precision fault", "dead units", "saturated units")
OUTLIERS = ("outlier", "outlier batch")  # examples that are most of any sample's loss
NOTHING = 0.01  # gain of a layer whose weights are next to zero
EARLY, LATE = 0.15, 0.4  # shares of the run: before it no question is asked; before it a plateau may still be left
HELD = 0.02  # of the weights that weight decay takes off in a step: it is that which holds them where they are
STILL = 1e-5  # of the loss: moves no more
LARGE = 1 << 24  # parameters from which Lanczos vectors are too much memory


class Flat:
    """Speaks of runs that stand still near their start, and rarely asks what others stand on.

    Args:
        every: steps between two looks at the losses.
        least: steps before the first question.
        share: of the start's loss that a run has to gain to be left alone.
        gain: share of the loss that a direction must gain to count.
        examples: of the sample that curvature is computed on.
        products: Hessian-vector products at most, at least 4.
        budget: share of the run that questions may cost where much has been gained.
    """

    of = "update"
    cost = 0.0  # of a look at the losses; a question costs about a hundred steps, and is asked where the run stands still

    def __init__(
        self,
        *,
        every: int = 50,
        least: int = 100,
        share: float = 0.25,
        gain: float = 0.03,
        examples: int = 128,
        products: int = 16,
        budget: float = 0.02,
    ) -> None:
        for name, value, low in (("every", every, 1), ("least", least, 20), ("examples", examples, 2), ("products", products, 4)):
            if value < low:
                raise InputTrouble(f"--flat.{name} {value}: must be at least {low}")
        for name, part in (("share", share), ("gain", gain), ("budget", budget)):
            if not 0.0 <= part < 1.0:
                raise InputTrouble(f"--flat.{name} {part}: must be in [0, 1)")
        self.every, self.least, self.share, self.gain = every, least, share, gain
        self.examples, self.products, self.budget = examples, products, budget
        self.evaluations = 4.0 * products * examples  # of single examples that a question costs, counted by how long they take
        self._held = 0.0  # of the weights that decay takes off in a step

    def measure(self, step: Step, theta: Theta, objective: Objective, update: Any = None) -> Mapping[str, float] | None:
        """Nothing yet: `judge` measures where it has to."""
        self._theta, self._objective = theta, objective
        groups = getattr(update, "param_groups", ())
        self._held = max((g.get("initial_lr", g["lr"]) * g.get("weight_decay", 0.0) for g in groups), default=0.0)
        return None

    def judge(self, history: History) -> Finding | None:
        """A finding where the question is asked, and has an answer."""
        t = len(history.loss) - 1
        if self._held > HELD:
            return None
        if (found := self._symmetric(t, history)) is not None:
            return found
        if (found := self._settled(t, history)) is not None:
            return found
        if not self._in_question(history):
            return None
        found = self._measured(t, history)
        if found is None:
            return None
        before = [loss for s, loss in history.measured["flat.loss"] if s < t]  # of the same examples: no luck of a batch is in it
        stands = bool(before) and found["loss"] > before[-1] - 3e-3 * abs(before[-1])
        verdict = self._verdict(t, found, stands and t + 1 >= LATE * ending(history))
        if verdict is not None and verdict.name == "minimum" and self._sampled(history) and history.lr[-1] < max(history.lr):
            return None  # it is the noise of batches that holds the loss up, and the rate that takes it away falls
        return verdict

    def _sampled(self, history: History) -> bool:
        """Whether a step has seen a part of the data only."""
        return _batch(history) < len(getattr(self._objective, "data", ()))

    def _symmetric(self, t: int, history: History) -> Finding | None:
        """A layer whose units have been copies of each other at two looks: training in earnest would have told them apart."""
        rows = history.measured.get("flat.same", [])
        if (t < 2 * self.every or rows) and hasattr(self, "_theta") and not (rows and rows[-1][0] == t):
            if same := alike(self._theta):
                history.note(t, "flat", {"same": float(same)})
            rows = history.measured.get("flat.same", [])
        if (
            len(rows) < 2
            or rows[-1][0] != t
            or rows[0][0] >= 2 * self.every
            or t + 1 < self.least
            or any(f.name == "saddle" for f in history.findings)
        ):
            return None
        count = int(rows[-1][1])
        layers = "a hidden layer" if count == 1 else f"{count} hidden layers"
        return Finding(
            t,
            "saddle",
            "warn",
            f"step {t}: the units of {layers} are still copies of each other, or next to zero, after {t + 1} steps",
            "a saddle: units that begin equal get equal gradients and stay equal, and weights at zero hide those of other layers",
            "begin from weights that differ: PyTorch's usual ones will do",
            {"layers": count, "loss": history.loss[-1] if math.isfinite(history.loss[-1]) else 0.0, "kind": "equal units"},
        )

    def _settled(self, t: int, history: History) -> Finding | None:
        """A run that has learned and whose loss, of all examples each time, moves no more; weight decay may hold it there."""
        if t + 1 < 2 * self.least or history.actions or abs(history.loss[-1] - history.loss[-2]) > STILL * abs(history.loss[-1]):
            return None
        w = max(self.every, (t + 1) // 4)
        last, start = history.loss[-w:], median(history.loss[:5])
        if history.lr[-1] < 0.3 * max(history.lr):
            return None
        if not start - last[-1] > self.share * abs(start) or not max(last) - min(last) <= STILL * abs(last[-1]):
            return None
        if any(f.name in ("minimum", "saddle", "plateau", *EXPLAINED) for f in history.findings):
            return None
        return Finding(
            t,
            "minimum",
            "info",
            f"step {t}: the loss has been {last[-1]:.6g} for {w} steps, {start:.4g} at the start (gradient {history.norm[-1]:.2g})",
            "the training is where it can get to from here, with the weight decay it has",
            "it may end; a larger model or other features, if the loss is to get lower",
            {"loss": last[-1], "gradient": history.norm[-1], "steps": w, "kind": "settled"},
        )

    def _in_question(self, history: History) -> bool:
        t, losses = len(history.loss) - 1, history.loss
        asked = history.measured.get("flat.loss", [])
        if asked and asked[-1][0] == t:
            return True
        if t + 1 < max(self.least, EARLY * ending(history)) or (asked and t < 1.5 * asked[-1][0]) or not all(history.applied[-20:]):
            return False
        if any((f.name in EXPLAINED or f.evidence.get("kind") in OUTLIERS) and f.level != "info" for f in history.findings):
            return False
        turned = max((a.t for a in history.actions), default=-1)
        said = max((f.t for f in history.findings if f.name in ("saddle", "plateau", "minimum")), default=-1)
        if turned < said and t < 4 * said:
            return False  # said, and nothing was done about it
        if (turned >= 0 and t < turned + self.least) or history.lr[-1] < 0.3 * max(history.lr[-WINDOW:]):
            return False
        start, now = median(losses[:5]), median(losses[-20:])
        cost = (len(asked) + 1) * self.evaluations / _batch(history)  # in steps, of all questions
        if start - now > self.share * abs(start) and ending(history) * self.budget < cost:
            return False
        w = min(max(t // 5, 40), WINDOW)
        a, b = np.array(losses[-w : -w // 2]), np.array(losses[-(w // 2) :])
        error = math.sqrt(a.var() / len(a) + b.var() / len(b))
        if a.mean() - b.mean() > 2.0 * error + 1e-3 * abs(now):
            return False
        return not leaving(history, w, self.share * abs(start))

    def _measured(self, t: int, history: History) -> dict[str, float] | None:
        """What is known of the point, noted: see `around`."""
        names = ("loss", "gradient", "smallest", "largest", "along", "down", "other", "agree", "slope", "far")
        noted = {k: history.measured.get(f"flat.{k}", []) for k in names}
        if all(rows and rows[-1][0] == t for rows in noted.values()):
            return {k: rows[-1][1] for k, rows in noted.items()}
        data = getattr(self._objective, "data", None)
        if data is None or len(data) < 4 or len(self._theta) > LARGE:
            return None
        found = around(self._objective, self.examples, self.products)
        history.note(t, "flat", found)
        return found

    def _verdict(self, t: int, found: dict[str, float], late: bool) -> Finding | None:
        loss, along, down = found["loss"], found["along"], found["down"]
        enough = self.gain * abs(loss)
        bent = found["gradient"] * found["far"] < 0.1 * along  # next to nothing of it is the slope's
        if found["smallest"] < 0.0 and along > enough and (along > 2.0 * down or bent):
            return Finding(
                t,
                "saddle",
                "warn",
                f"step {t}: the loss stands at {loss:.4g}; the curvature is {found['smallest']:.3g} along one direction "
                f"(largest {found['largest']:.3g}), and {along:.3g} lower that way",
                "a saddle: the gradient is next to nothing here, and does not point the way down",
                "step along the negative curvature; begin from other first weights where many are equal or zero",
                found,
            )
        if down > enough or along > enough:
            return None  # there is a way down, and the gradient shows it
        if found["agree"] > 0.3 and found["slope"] > 0.01 * abs(loss):
            return None  # two samples agree on a way that is not short: it is being gone
        if abs(found["other"] - loss) < 0.01 * abs(loss):
            if not late:
                return None
            return Finding(
                t,
                "plateau",
                "warn",
                f"step {t}: the loss stands at {loss:.4g}, whichever example it is shown with which target: {found['other']:.4g}",
                "the model says the same of every example, and neither gradient nor curvature shows a way down",
                "begin from other first weights, or with a lower rate and a longer warm-up; look at inputs and targets",
                found,
            )
        if max(down, along) > 0.1 * enough:
            return None
        return Finding(
            t,
            "minimum",
            "info",
            f"step {t}: the loss stands at {loss:.4g}; neither the gradient ({found['gradient']:.2g}) nor the curvature "
            f"(smallest {found['smallest']:.2g}) shows a way down",
            "the training is where it can get to from here",
            "a larger model or other features, if it is to get lower; else it may end",
            found,
        )


def leaving(history: History, window: int, worth: float) -> bool:
    """Whether the gradient grows so fast that the run gains what is worth it by its end without help."""
    before, now = median(history.norm[-window : -window // 2]), median(history.norm[-window // 4 :])
    if not now > 1.25 * before > 0.0:
        return now > 0.0 == before
    t, growth = len(history.loss), math.log(now / before) / (0.625 * window)  # between the middles of the two
    left = ending(history) - t if ending(history) > t else t
    return history.lr[-1] * now * math.expm1(min(growth * left, 60.0)) / growth > worth  # of steps as long as the rate, or shorter


def ending(history: History) -> int:
    """Steps of the whole run where they are known; else as many as there have been."""
    return getattr(history, "end", 0) or len(history.loss)


def _batch(history: History) -> int:
    return max(history.last.n if history.last is not None else 1, 1)


def alike(theta: Theta) -> int:
    """Hidden matrices whose rows are all equal, or next to zero."""
    deep = sum(m.role in ("matrix", "head") for m in theta.members) > 1  # else there is no layer behind it
    hidden = [m.view for m in theta.members if deep and m.role == "matrix" and m.param.ndim > 1 and m.param.shape[0] > 1]
    return sum(equal_rows(w) for w in hidden)


def equal_rows(weights: Tensor) -> bool:
    """Whether the rows of a matrix (o, ...) are equal as far as rounding tells, or all of them next to zero."""
    rows = weights.detach().flatten(1)
    gain = torch.linalg.vector_norm(rows) / len(rows) ** 0.5  # about 1 keeps the size of what comes in
    return bool((rows - rows[0]).abs().max() <= 1e-5 * rows.abs().max()) or float(gain) < NOTHING


def sick() -> list[History]:
    """A run at a saddle, one on a plateau, one whose hidden units are all the same, and one that has got where it can."""
    saddle = {"smallest": -0.5, "largest": 0.7, "along": 0.4, "down": 0.001, "other": 2.3, "far": 0.3}
    plateau = {"smallest": 0.0, "largest": 0.2, "along": 0.0, "down": 0.0, "other": 2.3, "far": 0.0}
    settled = History()
    for t in range(400):
        settled.add(Step(t, 0.1 + 2.0 * 0.9**t, 0.01, 0.1, 32, t * 0.1, True, 0.0))
    return [_run(saddle), _run(plateau), _run(saddle, same=2.0), settled]


def well() -> list[History]:
    """A run that stands still, and from which a step along the gradient would gain: somebody else's trouble."""
    return [_run({"smallest": -0.1, "largest": 5.0, "along": 0.2, "down": 0.3, "other": 4.0, "far": 300.0})]


def _run(known: dict[str, float], same: float = 0.0) -> History:
    history = History()
    for t in range(120):
        history.add(Step(t, 2.3 + 0.01 * math.sin(t), 0.01, 0.1, 32, t * 0.1, True, 0.0))
    history.note(66, "flat", {"loss": 2.3})
    history.note(99, "flat", {"loss": 2.3, "gradient": 1e-3, "agree": 0.1, "slope": 1e-2} | known)
    for t in (49, 99) if same else ():
        history.note(t, "flat", {"same": same})
    return history
