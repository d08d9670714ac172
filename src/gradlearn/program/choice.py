"""Whether a run's step is made into a program: where the forecast says that it pays within the run, or the user says so.

    steps * (eager - program)  >  what compiling takes

The forecast counts operations and products of one step that was listened to; it looks at no clock, so that the same run is decided
the same way every time. The decision is made before the first step, stands in run.toml with its evidence, and holds on resume.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gradlearn.errors import InputTrouble, nearest
from gradlearn.program.unfit import Unfit

if TYPE_CHECKING:
    from gradlearn.loop import Descent
    from gradlearn.plan import Plan
    from gradlearn.program.compiled import Program
    from gradlearn.program.listening import Sound

WORDS = ("auto", "on", "off")
SHORT, LONG = 250, 1500  # steps below which nothing is tried; and with recurrent layers of the library
CALL, LOOP = 4e-6, 2e-4  # seconds of an eager operation, and of what is around the operations of a step
OFTEN, QUICKER = 1000, 5  # steps of a run for each time that checks may look less often; times that a program's steps are quicker
TOGETHER = (20, 50)  # steps between two looks at theta, in a short run and in a long one
INLINE, CALLED = 7e-7, 1e-5  # seconds of an operation in a program, and of one that it leaves to PyTorch
PEAK = 7e10  # floating-point operations a second of products and convolutions
NEAR, FAR = 5e10, 1.2e10  # bytes a second of all else, from caches and from memory
RECURRENT = 1.3  # how much longer a recurrent layer of the library takes than its products
LARGE = 1e6  # bytes of an operation from which it goes to memory, and PyTorch shares it among threads
MATRIX, PARTS = 90, 40  # operations of an update on one matrix, eager and in a program
BEGIN, EACH = 0.3, 3e-4  # seconds that compiling takes, and for each operation


def wish_of(plan: Plan) -> str:
    """What the user wants: "auto", "on" or "off". Raises InputTrouble."""
    value = plan.get("compile", "auto")
    value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    if value not in WORDS:
        raise InputTrouble(f"--compile {value}: not known{nearest(str(value), WORDS)}")
    return value


def choose_program(d: Descent, plan: Plan, steps: int, seconds: float = 0.0) -> None:
    """Give the descent its program where it pays, and the plan the choice with its evidence.

    Args:
        steps: of the run; 0 where only its seconds are known.
        seconds: of the run, where steps are not known.
    """
    wish = wish_of(plan)
    if "compile" in plan and plan.choices["compile"].by != "user":
        again(d, plan)  # decided when the run was measured
        return
    if wish == "off":
        return
    try:
        d.program, why = _made(d, wish, steps, seconds)
    except (Unfit, RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as reason:
        d.program = None  # whatever stands in the way of a program, the run goes on without
        why = f"the model {reason}" if isinstance(reason, Unfit) else f"no program came of it ({type(reason).__name__}: {reason})"
        if wish == "on":
            warnings.warn(f"--compile on: {why}; it is trained step by step", RuntimeWarning, stacklevel=5)
            plan.choose("compiled", False, why, "data")
    plan.choose("compile", "on" if d.program is not None else "off", why)
    if d.program is not None:
        space(d, plan)


def again(d: Descent, plan: Plan) -> None:
    """The program of a run that is gone on with: it has one if it had one. Raises InputTrouble where it cannot be had here."""
    if "compile" not in plan or wish_of(plan) != "on" or not plan.get("compiled", True):
        return
    from gradlearn.program.compiled import Program
    from gradlearn.program.listening import training

    try:
        with training(d.theta.model):
            d.program = Program(d)
    except Unfit as reason:
        raise InputTrouble(f"resume: the run was compiled, and here the model {reason}") from reason
    space(d, plan)


def space(d: Descent, plan: Plan) -> None:
    """Checks look at theta less often, and together, where steps are quick; an interval that was given stays.

    A look costs as much as ever, and more steps by now; and it ends a call that takes many of them.
    """
    times, grid = min(max(d.controls.end // OFTEN, 1), QUICKER), TOGETHER[d.controls.end >= 2 * OFTEN]
    for check in d.looking("during"):
        name = type(check).__module__.rpartition(".")[2]
        if f"{name}.every" not in plan and getattr(check, "looks", True):
            check.every = math.ceil(check.every * (times if check.cost else 1) / grid) * grid
        if hasattr(check, "evaluations"):
            check.evaluations *= QUICKER  # pyright: ignore[reportAttributeAccessIssue]
    d.cadence = replace(d.cadence, snapshot=math.ceil(d.cadence.snapshot / grid) * grid)


def _made(d: Descent, wish: str, steps: int, seconds: float) -> tuple[Program | None, str]:
    if wish == "auto" and not seconds and steps < SHORT:
        return None, f"{steps} steps are too few to compile for"
    from gradlearn.program import compiled, listening

    compiled.require(d)
    start = time.perf_counter()
    if wish == "auto":
        heard = listening.heard_once(d, 0 < steps < LONG)
        matrices = matrices_of(d)
        eager, ours = forecast(heard, matrices)
        many, cost = steps or int(seconds / eager), BEGIN + EACH * (heard.parts + PARTS * matrices)
        if ours > 0.9 * eager:
            what = f"{heard.flop / 1e6:,.0f} MFLOP a step"
            return None, f"its time is spent in products, convolutions and memory ({what}), not between operations"
        sure = 1.5 if heard.parts == heard.operations else 6.0  # a whole layer of the library is hard to beat
        if many * (eager - ours) < sure * cost:
            return None, f"{many:,} steps of {heard.operations:,} operations: compiling would take longer than it saves"
    with listening.training(d.theta.model):
        program = compiled.Program(d)
        program.check(d)
    took = time.perf_counter() - start
    calls = f" and {program.calls} calls" if program.calls else ""
    how = f"{program.operations:,} operations became {program.loops} loops, {program.products} products{calls} in {took:.1f} s"
    return program, how


def matrices_of(d: Descent) -> int:
    """How many matrices the update turns as a whole, where a program can do it."""
    update: Any = d.update
    writable = getattr(update, "writable", None)
    if getattr(update, "elementwise", True) or writable is None or not writable():
        return 0
    return sum(p.ndim > 1 for group in update.param_groups for p in group["params"])


def forecast(heard: Sound, matrices: int = 0) -> tuple[float, float]:
    """Seconds of an eager step, and of a program's, from what one step is made of and how many matrices are turned as a whole."""
    large = heard.bytes > LARGE * heard.operations
    threads = torch.get_num_threads() if large else 1  # of PyTorch; a program's loops have one
    stream, work = FAR if large else NEAR, heard.flop / PEAK
    layers = RECURRENT if heard.parts > heard.operations else 1.0
    eager = LOOP + CALL * (heard.operations + MATRIX * matrices) + (heard.bytes / stream + work * layers) / threads
    return eager, INLINE * (heard.parts + PARTS * matrices) + CALLED * heard.calls + 0.5 * heard.bytes / stream + work
