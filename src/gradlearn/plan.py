"""The plan: every value that the user left open, chosen before step 0, each with who chose it and why.

    value = user's, if given; else the plan's

A user's value always wins and is never changed. Names are those of the command line and of run.toml: `batch`, `lr`, `update`, and
`<plug-in>.<option>` for the options of what a run names. The recipe is one fixed set of rules in steps, batch and data size
(docs/plan.md has the measurements behind it); nothing here looks at the name of a data set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradlearn.errors import InputTrouble, nearest
from gradlearn.find import attribute, default, describe, find, is_penalty, names, wrapped

SMALL = 1e9  # operations in a step below which one thread is as fast, and far faster where others use the machine too
LITTLE = 1e8  # operations that an update may always add to a step: one to two milliseconds
FAR = 1000  # steps in which Muon at the usual rate goes as far as weights have to
ITERATIONS = 3  # of Muon
FEW = 1000  # training examples below which Muon's steps are shorter: noisy tables are learned by heart by then
FORGET = {"muon": 0.5, "adamw": 0.3}  # weight decay of runs of FAR steps or fewer: what was learned is forgotten about twice over
ENOUGH, LEAST = 0.6, 0.1  # targets to a parameter that nobody can learn by heart any more; share of the decay that stays anyway
PIECE = 1024  # examples of a full batch that are in memory at once
PLUGGED = {"update": "update", "gradient": "gradient", "average": "average", "batches": "batches", "model": "models"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a run, who chose it, and why."""

    value: Any
    by: str  # "user", "plan", "measured" or "data"
    why: str = ""


class Plan:
    """The choices of a run by name, in the order in which they were made. What the user set is set first and stays."""

    def __init__(self, user: Mapping[str, Any] | None = None) -> None:
        self.choices: dict[str, Choice] = {}
        for name, value in (user or {}).items():
            if value is not None and value != "auto":
                self.choices[name] = Choice(value, "user", "as given")

    def __getitem__(self, name: str) -> Any:
        return self.choices[name].value

    def __contains__(self, name: str) -> bool:
        return name in self.choices

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default where nothing is chosen."""
        return self.choices[name].value if name in self.choices else default

    def choose(self, name: str, value: Any, why: str, by: str = "plan") -> Any:
        """Set a value unless the user (or an earlier rule) has; returns the one that holds."""
        if name not in self.choices:
            self.choices[name] = Choice(value, by, why)
        return self.choices[name].value

    def replace(self, name: str, value: Any, why: str, by: str = "plan") -> Any:
        """Set a value that an earlier rule may have set; a user's stays."""
        if name not in self.choices or self.choices[name].by != "user":
            self.choices[name] = Choice(value, by, why)
        return self.choices[name].value

    def options(self, plugin: str) -> dict[str, Any]:
        """The options chosen for one plug-in: {"weight_decay": 0.05} from "adamw.weight_decay"."""
        prefix = plugin + "."
        return {k.removeprefix(prefix): c.value for k, c in self.choices.items() if k.startswith(prefix)}

    def items(self) -> Iterator[tuple[str, Choice]]:
        """All choices by name."""
        yield from self.choices.items()


def check_names(plan: Plan) -> None:
    """Every plug-in named exists, and every `<plug-in>.<option>` belongs to one that the run names.

    Raises:
        InputTrouble: naming the nearest known one.
    """
    usual = {"adamw": "update", "ema": "average", "backprop": "gradient", "warmup": "rate", "linear": "rate"}
    usual |= {
        "split": "update",
        "muon": "update",
        "shuffle": "batches",
        "resnet": "models",
        "convnet": "models",
        "detector": "models",
    }
    kinds = {kind: choice for choice, kind in PLUGGED.items()} | {"rate": "rate"}
    used = {name: kind for name, kind in usual.items() if kinds[kind] not in plan}
    for choice, kind in PLUGGED.items():
        if choice in plan:
            describe(kind, plan[choice])
            used[plan[choice]] = kind
    for name, kind in [(name, kind) for name, kind in used.items() if kind in ("update", "gradient")]:
        _use_wrapped(plan, kind, name, used)
    for name in plan.get("rate", []):
        describe("rate", name)
        used[name] = "rate"
    used |= dict.fromkeys(_penalties(plan), "objective")
    for kind in ("watch", "remedy"):
        used |= dict.fromkeys(names(kind), kind)
    for name in plan.choices:
        plugin, dot, option = name.partition(".")
        if not dot:
            continue
        if plugin not in used:
            other = next((c for c, kind in PLUGGED.items() if plugin in names(kind)), None)
            other = "penalty" if plugin in names("objective") else other
            hint = f"; choose it with --{other} {plugin}" if other else nearest(plugin, used)
            raise InputTrouble(f"--{name}: this run has no {plugin!r}{hint}")
        if used[plugin] == "update" and option == "lr":
            raise InputTrouble(f"--{name}: the learning rate of every update is given as --lr")
        known = [o.name for o in describe(used[plugin], plugin).options]
        if option not in known:
            raise InputTrouble(f"--{name}: {plugin} has no option {option!r}{nearest(option, known) if known else ''}")


def _penalties(plan: Plan) -> list[str]:
    """What a run may name of `objective/`: every loss, and the penalties it asks for. Raises InputTrouble for unknown ones."""
    known = [name for name in names("objective") if is_penalty(name)]
    for name in plan.get("penalty", []):
        if name not in known:
            raise InputTrouble(f"--penalty {name}: not known{nearest(name, known)}")
    return [name for name in names("objective") if name not in known or name in plan.get("penalty", [])]


def _use_wrapped(plan: Plan, kind: str, name: str, used: dict[str, str]) -> None:
    """What a plug-in wraps is used too, and what that wraps."""
    for option in wrapped(kind, name):
        inner = plan.get(f"{name}.{option}") or default(kind, name, option)
        if not inner:
            continue
        describe(kind, inner)
        if inner not in used:
            used[inner] = kind
            _use_wrapped(plan, kind, inner, used)


def choose_batch(plan: Plan, n: int) -> None:
    """How many examples a step sees: about the square root of the data, a power of two from 16 to 128."""
    size = 2 ** min(max(round(math.log2(max(n, 2)) / 2), 4), 7)
    batch = plan.choose("batch", size, f"a power of two near the square root of {n} training examples, at most 128")
    if not (batch == "full" or (isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1)):
        raise InputTrouble(f"--batch {batch!r}: expected a number of examples, 'full' or 'auto'")
    kind = "full" if batch == "full" or batch >= n else "single" if batch == 1 else "shuffle"
    plan.choose("batches", kind, "follows from the batch")
    if "size" in [o.name for o in describe("batches", plan["batches"]).options]:
        plan.choose(f"{plan['batches']}.size", batch, "follows from the batch")
    if kind == "full" and n > PIECE and plan.get("gradient", "backprop") == "backprop":
        plan.choose("backprop.part", PIECE, f"a full batch passes in pieces: memory for {PIECE:,} examples, not for all")


def batch_size(plan: Plan, n: int) -> int:
    """Examples in one step."""
    return n if plan["batch"] == "full" else min(int(plan["batch"]), n)


def choose_threads(plan: Plan, work: float, cores: int) -> int:
    """Threads for steps of so much arithmetic (floating-point operations): two threads on small steps wait for each other."""
    if work < SMALL:
        return plan.choose("threads", 1, f"{work / 1e6:.3g} MFLOP a step is too little to share")
    return plan.choose("threads", cores, f"{work / 1e9:.3g} GFLOP a step, shared by all cores")


def choose_length(plan: Plan, n: int, epochs: float) -> None:
    """Steps of the run, from --steps, --epochs, or the number of epochs that the task suggests. --time is decided by measuring."""
    size = batch_size(plan, n)
    if "time" in plan and "steps" not in plan and "epochs" not in plan:
        return
    if "steps" not in plan:
        epochs = plan.choose("epochs", epochs, "at least 1,000 steps and 10 epochs, at most 100 epochs")
        if not (is_number(epochs) and epochs > 0):
            raise InputTrouble(f"--epochs {epochs}: must be above 0")
        plan.choose("steps", max(round(epochs * n / size), 1), f"{epochs:g} epochs of {n} examples, {size} a step")
    if not isinstance(plan["steps"], int) or plan["steps"] < 1:
        raise InputTrouble(f"--steps {plan['steps']}: must be a whole number above 0")


def usual_epochs(plan: Plan, n: int, steps: int = 1000, most: int = 100, least: int = 10) -> int:
    """Epochs that give so many steps, within bounds."""
    return min(max(math.ceil(steps * batch_size(plan, n) / n), least), most)


def choose_update(plan: Plan, tensors: Sequence[tuple[str, tuple[int, ...]]], work: float, examples: float = math.inf) -> None:
    """The update for a model of these tensors, (role, shape) each, so many floating-point operations a step, and examples.

    Muon for hidden matrices where its products cost no more than twice the step's own arithmetic, or next to nothing; for a model
    of one layer, or none, Adam in the eigenbasis of its matrix; else AdamW.
    """
    given = {name.partition(".")[0] for name in plan.choices if "." in name}
    if given & {"muon", "split", "adamw"}:
        plan.choose("update", "split" if given & {"muon", "split"} else "adamw", "its options were given")
    matrices = [(role, shape) for role, shape in tensors if len(shape) > 1]
    hidden = [shape for role, shape in matrices if role == "matrix" and min(shape[0], math.prod(shape[1:])) > 1]
    if not hidden or len(matrices) == 1:
        name, spent = "SOAP", sum(turning(shape) for _, shape in matrices)
    else:
        name, spent = "Muon", sum(map(orthogonalising, hidden))
    if spent > max(2.0 * work, LITTLE):
        plan.choose("update", "adamw", f"robust; {name} would add {spent / 1e6:.3g} MFLOP to a step of {work / 1e6:.3g}")
        if name == "SOAP" and "adamw.weight_decay" not in plan:
            plan.choose("adamw.weight_decay", *alone(matrices, examples))
            plan.choose("lr", 0.05, "one layer: there is nothing behind it that a long step could upset")
    elif name == "SOAP":
        plan.choose("update", "soap", "one layer: Adam in the eigenbasis of the matrix, with a short memory")
        plan.choose("soap.weight_decay", *alone(matrices, examples))
        plan.choose("lr", 0.1, "one layer: there is nothing behind it that a long step could upset")
    else:
        plan.choose("update", "split", "Muon for hidden matrices: all directions move, not the steepest alone; AdamW for the rest")


def alone(matrices: Sequence[tuple[str, tuple[int, ...]]], examples: float) -> tuple[float, str]:
    """(weight decay, why) of a single layer: none where examples are many times its inputs, more the fewer they are."""
    width = max((math.prod(shape[1:]) for _, shape in matrices), default=1)
    decay = round(min(0.3 * max(width / examples - 0.1, 0.0), 0.5), 3)
    return decay, f"one layer, {width} inputs" + (f" to {examples:.0f} examples" if decay else "")


def orthogonalising(shape: tuple[int, ...]) -> float:
    """Floating-point operations of Muon's iterations on one tensor, as `polar` does them."""
    rows, columns = sorted((shape[0], math.prod(shape[1:])))
    if columns > 3 * rows:
        return 8.0 * ITERATIONS * rows**3 + 4.0 * rows**2 * columns
    return ITERATIONS * (2.0 * rows**3 + 4.0 * rows**2 * columns)


def turning(shape: tuple[int, ...]) -> float:
    """Floating-point operations of a step of SOAP on one tensor, a tenth of a turn of its bases included."""
    n = math.prod(shape)
    return sum(6.0 * n * side + 0.8 * side**3 for side in (*shape[:2], math.prod(shape[2:])) if side > 1)


def _note_usual(plan: Plan, examples: float) -> None:
    """How far below the plan's own rate the one given lies, where that is far: as far `warm` may raise it if the run crawls."""
    other = Plan({name: choice.value for name, choice in plan.items() if name not in ("lr", "watch", "remedies")})
    choose_descent(other, examples)
    if plan["lr"] < 0.1 * other["lr"]:
        plan.choose("warm.usual", other["lr"] / plan["lr"], f"the plan's own rate would be {other['lr']:g}")


def choose_descent(plan: Plan, examples: float = math.inf, targets: float = 0.0) -> None:
    """Update, rate and average for a run whose length is known, on so many examples; `targets` to a parameter, 0: not known."""
    steps = plan["steps"]
    update = plan.choose("update", "adamw", "robust on every kind of model; each coordinate has a rate of its own")
    if attribute("update", update, "adaptive"):
        few = min(max(examples / FEW, 0.1), 1.0) if update == "split" else 1.0
        why = f"0.3 / sqrt({steps} steps), at most 0.02" + (f"; {examples} examples are few: x {few:.2g}" if few < 1.0 else "")
        plan.choose("lr", round(few * usual_rate(steps), 6), why)
    else:
        plan.choose("lr", default("update", update, "lr"), f"the usual rate of {update}")
    if update in ("split", "adamw"):
        choose_parts(plan, steps, examples, targets)
    if not (is_number(plan["lr"]) and plan["lr"] > 0):
        raise InputTrouble(f"--lr {plan['lr']}: must be a finite number above 0")
    if plan.choices["lr"].by == "user":
        _note_usual(plan, examples)
    plan.choose("gradient", "backprop", "the model is differentiable")
    kind = find("update", update)
    if getattr(kind, "schedule", None) is not None:
        plan.choose("rate", list(kind.schedule), f"{update} needs no schedule beyond it")
    plan.choose("rate", ["warmup", "linear"], "the length is known: a straight line to zero is optimal for the last iterate")
    if hasattr(kind, "shown"):
        plan.choose("average", "own", f"{update} keeps an average of its own")
    plan.choose("average", "ema", "steadier scores before the rate has fallen, the same at the end")
    if plan["average"] == "ema":
        plan.choose("ema.decay", 0.8, "the last 5 looks carry most of the weight")
        plan.choose("ema.every", max(round(steps / 200), 1), "a look every 200th of the run")
    if plan.choose("grow", False, "on a processor a batch that is larger from the start saves more"):
        if not attribute("batches", plan["batches"], "grows"):
            raise InputTrouble(f"--grow: {plan['batches']} batches keep their size; use shuffle or balanced")
        plan.choose("noise.every", max(20, steps // 100), "a hundred looks, each costs about a step")
        given = "steps" in plan and plan.choices["steps"].by == "user"
        plan.choose("grow.keep", "steps" if given else "examples", "as the length of the run was given")
    plan.choose("clip", 0.0, "the update bounds its own steps")
    if not (is_number(plan["clip"]) and plan["clip"] >= 0):
        raise InputTrouble(f"--clip {plan['clip']}: must be a finite number of at least 0")
    choose_care(plan)


def usual_rate(steps: float) -> float:
    """The rate of a run of so many steps at its highest, for an update whose steps are about as long as its rate."""
    return min(0.02, 0.3 / math.sqrt(steps))


def usual_decay(update: str, steps: float, examples: float = math.inf) -> float:
    """Weight decay of "muon" or "adamw" in a run of so many steps; more on few examples, which are soon learned by heart."""
    few = max(FEW / examples, 1.0)
    return min(FORGET[update] * (few if update == "adamw" else math.sqrt(few)), 1.0) * min(math.sqrt(FAR / steps), 1.0)


def choose_parts(plan: Plan, steps: int, examples: float, targets: float = 0.0) -> None:
    """Rates and decay of AdamW, and of Muon beside it, for a run of so many steps; what the user named keeps its usual options."""
    if plan.choices["lr"].by == "user":
        return
    parts = {"adamw"}
    if plan["update"] == "split":
        further = round(min(max(math.sqrt(FAR / steps), 1.0), 6.0), 2)
        why = f"Muon's steps are short: its matrices go as far as in {FAR:,}; a row of an embedding is seldom met"
        plan.choose("split.rates", [further, 3.0, 1.0, 1.0], why)
        parts = {plan.get(f"split.{part}") or default("update", "split", part) for part in wrapped("update", "split")}
    if "muon" in parts:
        plan.choose("muon.momentum", 0.9, "a shorter memory suits runs of a few thousand steps")
        plan.choose("muon.steps", ITERATIONS, "three iterations of Polar Express come as near as five of the classic ones")
        plan.choose("muon.coefficients", "polar_express", "as the steps")
        if plan.get(f"{plan.get('model')}.precision") == "bfloat16":
            plan.choose("muon.precision", "bfloat16", "as the network's: products of half precision are faster here", "measured")
    if plan.choices["update"].by == "user":
        return
    heart = by_heart(plan, examples, targets)
    for name in sorted(parts & FORGET.keys()):
        why = "decay x rate x steps stays what it is: what was learned is forgotten about twice over"
        if heart < 1.0:
            why = f"{heart:.2g} of the usual: seen so seldom, or with {targets:.2g} targets to a weight, little is learned by heart"
        plan.choose(f"{name}.weight_decay", round(usual_decay(name, steps, examples) * heart, 4), why)


def by_heart(plan: Plan, examples: float, targets: float) -> float:
    """How far a run can learn its examples by heart, in [0.1, 1]: they are seen twice and more, and are few for its weights."""
    repeats = (
        plan["steps"] * batch_size(plan, int(examples)) / examples - 1.0 if "batch" in plan and math.isfinite(examples) else 1.0
    )
    few = min(ENOUGH / targets, 1.0) if targets > 0.0 else 1.0
    return max(min(max(repeats, 0.0), 1.0) * few, LEAST)


def choose_care(plan: Plan) -> None:
    """Which checks watch and which remedies act: all of the usual ones, less those in `without`."""
    act = plan.choose("act", True, "remedies are on")
    left_out = list(plan.get("without", []))
    known = [*names("watch"), *names("remedy")]
    for name in left_out:
        if name not in known:
            raise InputTrouble(f"--without {name}: no check or remedy of this name{nearest(name, known)}")
    if plan.get("steps", FAR) < FAR:
        plan.choose("crawling.every", 5, "in a short run every step at a rate too low is missed")
    if plan.get("steps", 0) >= 10 * FAR:
        plan.choose("state.every", plan["steps"] // 200, "two hundred looks: each ends a call that takes many steps at once")
    asked = {"noise": bool(plan.get("grow")), "grow": bool(plan.get("grow"))}
    usual = {
        kind: [n for n in names(kind) if asked.get(n, attribute(kind, n, "usual") is not False)] for kind in ("watch", "remedy")
    }
    plan.choose("watch", [n for n in usual["watch"] if n not in left_out], "every usual check")
    ordered = sorted(usual["remedy"], key=lambda n: attribute("remedy", n, "order") or 0)
    acting = [n for n in ordered if n not in left_out] if act else ["stop"]
    plan.choose("remedies", acting, "every usual remedy, in this order" if act else "watch only")


def is_number(value: Any) -> bool:
    """A finite number, and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def plan_from(saved: Mapping[str, Any]) -> Plan:
    """The plan of a run.toml, every value as it ran."""
    plan = Plan()
    plan.choices = {name: Choice(c["value"], c["by"], c["why"]) for name, c in saved["choice"].items()}
    return plan


def seconds_of(time: float | str) -> float:
    """60, "60", "60s", "5m", "2h" in seconds. Raises InputTrouble otherwise."""
    try:
        text = str(time).strip().lower()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < 1e8:
        raise InputTrouble(f"--time {time}: expected seconds above 0, or such as 60s, 5m, 2h")
    return value
