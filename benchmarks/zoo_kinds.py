"""The kinds of sick runs: what each may be called, why a run that is made so has it, and the facts that show it.

Written before any check looked at a run. `accept` are the names that are right, `also` what is a true consequence of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

BROKEN = ("diverged", "unstable", "non-finite")


class Kind(NamedTuple):
    """What all runs of a kind share."""

    accept: tuple[str, ...]
    also: tuple[str, ...]
    why: str
    proof: Callable[[dict[str, Any]], bool]


def gained(f: dict[str, Any]) -> float:
    """The share of the first loss that the last has lost."""
    return 1.0 - f["losses"][-1] / f["start"] if f["losses"] else 0.0


def valid(f: dict[str, Any]) -> float:
    """The last validation loss over the least."""
    losses = [loss for _, _, loss in f["scores"]]
    return losses[-1] / min(losses) if losses else 1.0


KINDS: dict[str, Kind] = {
    "rate too high": Kind(
        BROKEN,
        ("dead units", "saturated units", "exploding", "vanishing", "plateau", "underfit"),
        "20 to 1,000 times a good rate: the loss blows up, or jumps about and never learns; what it breaks may be named as well",
        lambda f: bool(f["error"]) or gained(f) < 0.15 or f["most"] > 5 * f["first"],
    ),
    "rate too low": Kind(
        ("crawling",),
        ("underfit",),
        "a thousandth to a ten-thousandth of a good rate: the loss hardly moves in a run in which a good rate learns",
        lambda f: gained(f) < 0.12,
    ),
    "NaN example": Kind(("non-finite", "data fault"), (), "inputs hold NaN", lambda f: bool(f["error"])),
    "infinite target": Kind(("non-finite", "data fault"), (), "targets hold infinity", lambda f: bool(f["error"])),
    "huge inputs": Kind(
        ("data fault", *BROKEN),
        ("exploding", "dead units", "saturated units"),
        "some examples are ten thousand times too large, as of a broken sensor",
        lambda f: bool(f["error"]) or f["most"] > 50.0 or gained(f) < 0.3,
    ),
    "overfit": Kind(
        ("overfit",),
        ("minimum",),
        "few examples, a large net, many epochs: the validation loss rises while the training loss goes to its floor",
        lambda f: valid(f) > 1.15 and gained(f) > 0.5,
    ),
    "underfit": Kind(
        ("underfit",),
        ("plateau", "minimum"),
        "the model is too small for the target, or held down by its regularisation: the usual model of these data learns far more",
        lambda f: abs(f["losses"][-1] / f["losses"][-4] - 1) < 0.1 or gained(f) < 0.5,
    ),
    "dead units": Kind(
        ("dead units",),
        ("vanishing", "plateau", "underfit", "crawling"),
        "most rectified units of a layer are zero for every example, by biases of -10 or a spike of the rate before",
        lambda f: f["units"][1]["dead"] > 0.7,
    ),
    "saturated units": Kind(
        ("saturated units",),
        ("vanishing", "plateau", "underfit", "crawling"),
        "weights 30 times too large hold most bounded units at their bounds",
        lambda f: min(u["bound"] for u in f["units"]) > 0.5,
    ),
    "vanishing": Kind(
        ("vanishing",),
        ("plateau", "underfit", "crawling", "saddle"),
        "20 layers that each shrink the gradient",
        lambda f: gained(f) < 0.35,
    ),
    "exploding": Kind(
        ("exploding",),
        (*BROKEN, "dead units", "data fault"),
        "10 layers, each with weights three times those that keep the size of what passes, and no norm",
        lambda f: bool(f["error"]) or f["most"] > 30.0,
    ),
    "wrong labels": Kind(
        ("data fault",),
        ("overfit", "underfit", "noise floor"),
        "30 % of the labels, in training and validation alike, are another class",
        lambda f: True,
    ),
    "constant features": Kind(("data fault",), (), "many columns are the same for every example, or copies of one", lambda f: True),
    "same examples": Kind(("data fault",), (), "validation examples are training examples", lambda f: True),
    "unscaled columns": Kind(
        ("data fault",),
        (*BROKEN, "crawling", "plateau", "underfit", "dead units", "saturated units", "vanishing", "exploding", "precision fault"),
        "columns a million apart in size, or 10,000 away from zero",
        lambda f: True,
    ),
    "rare class": Kind(("data fault",), (), "one class is 99 % of the examples", lambda f: True),
    "plateau": Kind(
        ("plateau",),
        ("vanishing", "saturated units", "dead units", "underfit"),
        "the loss has no slope where the run is, or none that an example could show",
        lambda f: gained(f) < 0.05,
    ),
    "saddle": Kind(
        ("saddle",),
        ("plateau", "vanishing", "crawling", "underfit"),
        "the start is at, or next to, a point without slope that has a way down, and the run does not leave it",
        lambda f: True,
    ),
    "minimum": Kind(
        ("minimum",),
        (),
        "a convex loss, far beyond convergence; a remark is enough",
        lambda f: f["losses"][-1] <= f["losses"][5] * 1.001 and gained(f) > 0.2,
    ),
    "noise floor": Kind(
        ("noise floor",),
        ("plateau",),
        "two examples a step and a rate that never falls: the loss hovers far above where the same run with a falling rate ends",
        lambda f: gained(f) > 0.2 and f["losses"][-1] > 0.6 * min(f["losses"][-6:-3]),
    ),
    "precision fault": Kind(
        ("precision fault",),
        ("crawling", "plateau", "underfit", "vanishing"),
        "steps below half a unit in the last place of the weights, or gradients below the smallest number of 16 bits",
        lambda f: gained(f) < 0.5,
    ),
    "slow data": Kind(("slow data",), (), "most of the time is spent waiting for the examples", lambda f: True),
}
