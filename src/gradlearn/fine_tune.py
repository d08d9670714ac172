"""Fine-tuning: weights that have learned something already move on, first what is new alone, then all, earlier layers more slowly.

    eta_k(t) = eta(t) low^(1 - depth_k)       depth: 0 the first layer, 1 the last and what is new
             = 0 for t < first                k not new

Howard, Ruder, "Universal language model fine-tuning for text classification", arXiv 1801.06146: a head that begins at random sends
gradients back that spoil what the body knows, and what early layers know is needed by most tasks. Use it with weights that were
trained on something alike (`train images --from`); for a model that begins at random every layer has everything to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradlearn.errors import InputTrouble
from gradlearn.layout import Member
from gradlearn.plan import Plan, is_number
from gradlearn.theta import Theta

HEAD_FIRST, LOW = 0.1, 0.1
ONE_RATE = ("lbfgs", "prodigy", "rprop")  # updates whose steps are not a group's rate times something


def choose(plan: Plan) -> None:
    """Length of the first phase and rate of the first layer, for a run that begins with weights; the rate itself is the plan's."""
    if plan.get("update") in ONE_RATE:
        plan.choose("head_first", 0.0, f"{plan['update']} has one rate for all layers")
        plan.choose("first_rate", 1.0, f"{plan['update']} has one rate for all layers")
    plan.choose("head_first", HEAD_FIRST, "share of the steps in which only what is new moves: the rest would follow its noise")
    plan.choose("first_rate", LOW, "of the first layer, in units of the last's: what it knows is needed most")


def depths(theta: Theta) -> dict[str, float]:
    """Depth of every parameter by name: 0 in the first matrix, 1 in the last; biases and norms have that of the one before."""
    known = {m.name: m for m in theta.members}
    level, levels = -1, {}
    for name, _ in theta.model.named_parameters():
        if name in known:
            level += known[name].role != "rest"
            levels[name] = max(level, 0)
    return {name: k / level if level > 0 else 1.0 for name, k in levels.items()}


def ordered(groups: Callable[..., list[dict[str, Any]]], theta: Theta, plan: Plan) -> list[dict[str, Any]]:
    """The groups of an update, with rates of their own where the plan asks for them: the fastest first, whose rate is told.

    Raises:
        InputTrouble: a share or a rate that cannot be.
    """
    low, share = plan.get("first_rate", 1.0), plan.get("head_first", 0.0)
    for name, value in (("first-rate", low), ("head-first", share)):
        if not (is_number(value) and 0.0 <= value <= 1.0):
            raise InputTrouble(f"--{name} {value}: must be in [0, 1]")
    if low == 1.0 and not share:
        return groups()
    if plan.get("update") in ONE_RATE:
        asked = "head-first" if share else "first-rate"
        raise InputTrouble(f"--{asked}: {plan['update']} has one rate for all layers; leave it out, or choose another --update")
    depth = depths(theta)
    begins: int = round(share * plan.get("steps", 0))
    fresh = set(plan["fresh"]) if "fresh" in plan else {name for name, k in depth.items() if k == 1.0}
    theta.begins = dict.fromkeys(depth.keys() - fresh if fresh and begins else (), begins)

    def own(m: Member) -> dict[str, Any]:
        if m.name in fresh:
            return {"lr": plan["lr"], "begins": 0}
        return {"lr": plan["lr"] * low ** (1.0 - depth[m.name]), "begins": theta.begins.get(m.name, 0)}

    return sorted(groups(own), key=lambda group: (group["begins"], -group["lr"]))
