"""What the plan chooses for pictures: network, width, their size at first, how they are changed in training and seen in scoring.

    width = the largest w with  passes(w) >= enough(w),      passes(w) = seconds / (pace n) (cost(32) / cost(w))^WIDER

Rules of size, number and passes alone, none of a data set's name; docs/plan.md has what was measured for each. A user's value
stays. For `tasks/images.py`, which measures the pace, and whether left and right mean anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradlearn.data.progressive import LEAST
from gradlearn.errors import InputTrouble, nearest
from gradlearn.plan import Plan, batch_size, usual_decay, usual_rate
from gradlearn.precision import precision

__all__ = [
    "FEW",
    "About",
    "choose",
    "choose_augmentation",
    "choose_decay",
    "choose_size",
    "choose_size_in",
    "choose_views",
    "enough",
    "reduce_size_in",
    "usual",
]

MODELS = ("resnet", "convnet")
SMALL = 16  # pixels a side below which there is little to whiten or to go deep on
LARGE = 96  # pixels a side from which pictures are cropped at random and not shifted
FEW = 500  # pictures; fewer are warped
WIDTHS = (16, 24, 32, 48, 64, 80, 96)
PASSES = 0.22  # over the pictures for each channel of the width: a wider network is worth more of them, above 32 still more
LOOKED = 20  # epochs from which scoring pictures in three places costs little beside training
SHORT = 6  # epochs below which smaller pictures at first, and so more of them, are worth more than all they do not show
WIDE, LONG = 64, 25  # width and epochs of a network that learns its pictures by heart unless less of each is shown
TURN = 0.0024  # rate x decay of a long run: below a norm these alone settle how fast weights turn, and so what is forgotten
SLOW = 0.8  # of the passes that a width is worth, from which it stays though it is slower than it was expected to be
LITTLE = 1.4  # passes of the smallest resnet below which there is no time for one
WIDER = 0.8  # a network of twice the arithmetic takes 2^0.8 times as long: wide layers are faster an operation


@dataclass(frozen=True)
class About:
    """What is known before anything is measured."""

    n: int  # training pictures
    shape: tuple[int, int, int]  # h, w, c
    few: bool  # so few training pictures that all else is chosen for that
    begun: bool  # whether it starts from weights, whose network is settled


def choose(plan: Plan, about: About) -> None:
    """Model, batch, loss and update: what does not depend on the length of the run. Raises InputTrouble for an unknown model."""
    given = next((name for name in MODELS if plan.options(name)), None)
    likely = "resnet" if min(about.shape[:2]) >= SMALL else "convnet"
    side = "at least" if likely == "resnet" else "less than"
    plan.choose("model", given or likely, "its options were given" if given else f"pictures of {side} {SMALL} pixels a side")
    if plan["model"] not in MODELS:
        raise InputTrouble(f"--model {plan['model']}: no network for pictures{nearest(plan['model'], MODELS)}")
    if plan["model"] == "resnet":
        plan.choose("resnet.precision", *precision(plan["device"]), "measured")
    few = f"{about.n} training pictures; larger batches are no faster on a processor"
    plan.choose("batch", 64 if about.n < 5000 else 128, few)
    plan.choose("cross_entropy.label_smoothing", 0.1, "keeps the outputs from growing without bound")
    plan.choose("update", "split", "Muon for convolutions: all directions move, not the steepest alone; AdamW for the rest")
    plan.choose("best.times", 1e3, "labels are smoothed: a higher loss of the true ones alone is no worse model")
    if plan["update"] in ("adamw", "nadam", "split"):
        name = "adamw" if plan["update"] == "split" else plan["update"]
        plan.choose(f"{name}.betas", [0.9, 0.98], "a memory of 50 steps for the squares: runs are short")
        if plan["update"] != "split":
            plan.choose(f"{name}.weight_decay", 0.05, "augmentation and smoothing hold most of it")
    plan.choose("rate", ["warmup", "linear"], "the length is known: a straight line to zero is optimal for the last iterate")
    if "warmup" in plan["rate"]:
        plan.choose("warmup.share", 0.1, "the scale of the gradients is unknown at first")


def usual(plan: Plan) -> Mapping[str, Any]:
    """The model, its width and the size of the pictures that the pace is measured at."""
    model = {"model": plan["model"], f"{plan['model']}.width": 32}
    return model if "progressive" in plan else model | {"progressive": False}


def choose_size(plan: Plan, about: About) -> None:
    """Width of the network where the time is open."""
    plan.choose(f"{plan['model']}.width", 32, "the usual one")
    _choose_activation(plan, about)


def choose_size_in(plan: Plan, about: About, seconds: float, pace: float, cost: Callable[[str, int], float]) -> None:
    """Network and width for so many seconds, where a picture takes `pace` seconds of training at the usual ones.

    The largest width that sees every picture often enough for it: up to there more passes are worth more than more width.
    `cost`: arithmetic of a network by its name and width.
    """
    name = plan["model"]
    passes = {w: seconds / (pace * about.n) * (cost(name, 32) / cost(name, w)) ** WIDER for w in WIDTHS}
    if f"{name}.width" in plan:
        _choose_activation(plan, about)
        return _choose_side(plan, about, seconds / (pace * about.n))
    asked = any(choice.by == "user" and f"{key}.".startswith(("model.", "resnet.")) for key, choice in plan.items())
    if name == "resnet" and passes[WIDTHS[0]] < LITTLE and not asked:
        least = f"{seconds:.0f} s are {passes[WIDTHS[0]]:.1f} passes of the smallest resnet"
        plan.replace("model", "convnet", least, "measured")
        plan.choices.pop("resnet.precision", None)
        return choose_size_in(plan, about, seconds, pace * cost("convnet", 32) / cost("resnet", 32), cost)
    most = 32 if about.n < 5000 else 64 if about.n < 20000 else WIDTHS[-1]
    least = 32 if name == "convnet" and about.shape[2] == 3 else WIDTHS[0]
    width = max((w for w in WIDTHS if w <= most and passes[w] >= enough(w)), default=least)
    why = f"the largest that sees each of {about.n} pictures often enough: about {passes[width]:.1f} times at this width"
    plan.choose(f"{name}.width", width, why, "measured")
    _choose_activation(plan, about)
    return _choose_side(plan, about, passes[width])


def reduce_size_in(plan: Plan, about: About, seconds: float, pace: float) -> bool:
    """Whether the next narrower network was taken: at its own pace, seconds a picture, the one chosen has too few passes.

    A width that the user gave, or the weights that a run begins with have, stays.
    """
    key = f"{plan['model']}.width"
    width, passes = plan[key], seconds / (pace * about.n)
    narrower = max((w for w in WIDTHS if 32 <= w < width), default=None)
    if plan.choices[key].by != "measured" or narrower is None or passes >= SLOW * enough(width):
        return False
    why = f"width {width} was expected to be faster: measured, it has {passes:.1f} passes over {about.n} pictures"
    plan.replace(key, narrower, why, "measured")
    if narrower < WIDE and "resnet.activation" in plan and plan.choices["resnet.activation"].by != "user":
        plan.choices.pop("resnet.activation")
    return True


def enough(width: int) -> float:
    """Passes over the pictures from which a network of this width is better than a narrower one over more of them."""
    return PASSES * width * max(1.0, math.sqrt(width / 32))


def _choose_activation(plan: Plan, about: About) -> None:
    if plan["model"] == "resnet" and plan["resnet.width"] >= WIDE and not about.begun:
        plan.choose("resnet.activation", "gelu", "a little better than relu, and of a wide network a twentieth of the time")


def _choose_side(plan: Plan, about: About, epochs: float) -> None:
    able = plan.get("model") == "resnet" and min(about.shape[:2]) >= LEAST
    short = f"{epochs:.1f} passes over full ones are few: three quarters of the side in the first part of the run"
    full = "enough passes over full pictures" if able else "too small for it"
    plan.choose("progressive", able and epochs < SHORT, short if able and epochs < SHORT else full)


def choose_augmentation(plan: Plan, about: About, epochs: float) -> None:
    """How training pictures are changed in a run of so many epochs, less mirror images."""
    side = min(about.shape[:2])
    _choose_side(plan, about, epochs)
    why = "few pictures: each is turned, bent and lit anew in every step" if about.few else "moves and mirror images are enough"
    plan.choose("warp", 1.0 if about.few else 0.0, why)
    if side >= LARGE and epochs >= 2 and not plan["warp"]:
        plan.choose("crop", 0.65 if epochs >= 10 else 0.35, f"pictures of {side} pixels and more are cropped at random")
        plan.choose("colour", 0.2 if about.shape[2] == 3 else 0.0, "the light differs between photographs")
    long = plan.get("model") == "resnet" and plan.get("resnet.width", 0) >= WIDE and epochs >= LONG
    shift = max(round(side / (8 if long else 16)), 1) if epochs >= 2 and side > 6 else 0
    if plan.get("crop") or plan["warp"]:
        plan.choose("shift", 0, "a warp moves pictures too" if plan["warp"] else "crops are moved already")
    part = "an eighth: a wide network in a long run" if long else f"a sixteenth of {side} pixels"
    plan.choose("shift", shift, part if shift else "too few epochs to need new pictures")
    if long:
        plan.choose("cutout", side // 4, "a wide network in a long run: a square of each picture is covered")


def choose_decay(plan: Plan, about: About, epochs: float) -> None:
    """Muon's weight decay in a run of so many epochs where the usual one would turn the weights ever less with its length.

    What follows a convolution is normed, so that its weights matter by their direction alone: how fast that turns is settled by
    rate x decay, where steps away from zero and the pull towards it are in balance. The usual ones both fall with the length.
    The usual decay stays where pictures are seen less than twice, which are not learned by heart, and of fewer than 2 FEW, whose
    rate and decay are others.
    """
    if about.begun or plan.get("update") != "split" or "user" in {plan.choices[k].by for k in ("update", "lr") if k in plan}:
        return
    if epochs < 2 or about.n < 2 * FEW:
        return
    steps = epochs * about.n / batch_size(plan, about.n)
    decay = TURN / usual_rate(steps)
    if decay > usual_decay("muon", steps, about.n):
        why = f"rate x decay is {TURN:g} in runs of many steps, so that weights turn as fast as in short ones"
        plan.choose("muon.weight_decay", round(decay, 4), why)


def choose_views(plan: Plan, epochs: float) -> None:
    """What is looked at beside a picture when it is scored, after a run of so many epochs."""
    plan.choose("mirror_score", plan["mirror"], "a picture and its mirror image are scored together where both are trained on")
    moved = plan["shift"] // 2 if epochs >= LOOKED else 0
    plan.choose("shift_score", moved, "moved pictures are scored too" if moved else "moving it would cost more than it gains")
