"""A plan with another rate, for few of the examples, or with all off that keeps a network from learning them by heart.

For `contrast.py`, whose trainings differ in nothing else.
"""

from __future__ import annotations

from typing import Any

import torch

from gradlearn import chance
from gradlearn.find import default, describe, wrapped
from gradlearn.plan import Choice, Plan, batch_size

PASSES = 60  # over the few examples, at least
LEAST = 40  # examples that are few
REGULARISING = ("shift", "mirror", "warp", "penalty", "mixup", "cutmix", "cutout", "augment", "crop", "rotate", "trivial", "colour")


def few(plan: Plan, n: int) -> torch.Tensor:
    """Which examples: at most a tenth, and as many as are seen often enough."""
    size = min(n // 10, plan["steps"] * batch_size(plan, n) // PASSES)
    rows = chance.permutation(n, plan["seed"], "few")[: min(max(size, LEAST), n)]
    return torch.from_numpy(rows).sort().values


def altered(plan: Plan, lr: float) -> Plan:
    """The plan with another rate."""
    own = Plan()
    own.choices = {k: c for k, c in plan.items() if k not in ("time", "epochs")}
    own.choices["lr"] = Choice(lr, "plan", "a twin")
    return own


def longer(plan: Plan, steps: int) -> Plan:
    """The plan for so many steps, looking as often on the way."""
    own = altered(plan, plan["lr"])
    own.choices["steps"] = Choice(steps, "plan", "fewer would show nothing")
    if plan.get("score_every"):
        own.choices["score_every"] = Choice(max(steps // (plan["looks"] + 1), 1), "plan", "follows from the looks")
    return own


def smaller(plan: Plan, n: int) -> Plan:
    """The plan for n examples: batches of a quarter of them at most."""
    own = altered(plan, plan["lr"])
    size = f"{plan['batches']}.size"
    if size in own and plan["batch"] != "full" and plan["batch"] > n // 4:
        own.choices["batch"] = own.choices[size] = Choice(max(n // 4, 2), "plan", "a twin")
    return own


def loosened(plan: Plan) -> Plan:
    """The plan with every regularisation off."""
    own = altered(plan, plan["lr"])
    for name in held_of(plan).keys() - {"average"}:
        value = own.get(name)
        none: Any = [] if isinstance(value, list) else False if isinstance(value, bool) else 0.0 if "." in name else 0
        own.choices[name] = Choice(none, "plan", "off")
    if plan["average"] != "own":  # what an update averages itself is the update
        own.choices["average"] = Choice("plain", "plan", "off")
    for name in [k for k in own.choices if k.startswith("ema.")]:
        del own.choices[name]
    own.choices["mirror_score"], own.choices["shift_score"] = Choice(False, "plan", "off"), Choice(0, "plan", "off")
    return own


def updates_of(plan: Plan) -> list[str]:
    """The update of a plan and those that it wraps."""
    name = plan["update"]
    return [name, *(inner for o in wrapped("update", name) if (inner := plan.get(f"{name}.{o}") or default("update", name, o)))]


def has_decay(update: str) -> bool:
    """Whether an update has a weight decay."""
    return "weight_decay" in [o.name for o in describe("update", update).options]


def held_of(plan: Plan) -> dict[str, Any]:
    """What in a plan keeps a network from learning by heart, by name, as far as it is on."""
    held = {k: plan[k] for k in REGULARISING if plan.get(k)}
    held |= {k: c.value for k, c in plan.items() if k.endswith((".label_smoothing", ".dropout")) and c.value}
    for update in dict.fromkeys(updates_of(plan)):
        if has_decay(update):
            value = plan.get(f"{update}.weight_decay", default("update", update, "weight_decay"))
            held |= {f"{update}.weight_decay": value} if value else {}
    return held | ({"average": plan["average"]} if plan["average"] not in ("plain", "own") else {})
