"""What a Pilot has to tell: what the loop did, what was found, what was done, and what a Pilot cannot do there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from gradlearn.report import story, words
from gradlearn.report.facts import gather

if TYPE_CHECKING:
    from gradlearn.connect.pilot import Pilot


def paragraph(pilot: Pilot) -> str:
    """The account, every sentence from what is on record."""
    h = pilot.history
    if not h.loss:
        return "No step has been taken since the Pilot was attached."
    told = [x for x in h.loss if x - x == 0]
    steps = {"t": list(range(len(h.loss))), "loss": h.loss, "norm": h.norm, "lr": h.lr, "applied": h.applied}
    parts = [f"The loop has taken {words.plural(len(h.loss), 'step')} under the Pilot."]
    parts += [story.course(gather({}, steps, [])) if told else "Nobody said what the loss is, so only gradients were watched."]
    parts += [story.trouble([asdict(f) for f in h.findings], [asdict(a) for a in h.actions])]
    return " ".join(part for part in [*parts, *limits(pilot)] if part)


def limits(pilot: Pilot) -> list[str]:
    """What it could not do, and what somebody else did."""
    parts = []
    if pilot.skipped:
        losses = words.plural(pilot.skipped, "loss was", "losses were")
        parts.append(f"{losses} followed by no step: a gradient scaler, or the loop itself, left them out.")
    if pilot.stopped:
        parts.append("It has given up: the last good weights are held, every further step is blocked.")
    if pilot.steering.controls.rate != 1.0:
        parts.append(f"Learning rates are now {words.number(pilot.steering.controls.rate)} times what the loop sets.")
    if any(p.grad is not None and p.grad.is_sparse for p in pilot.theta.params()):
        parts.append("Some gradients are sparse: they count in the norm, checks that look at tensors pass over them.")
    if pilot.steering.shared:
        parts.append("Several processes train together: steps that are not finite are blocked, but no remedy acts.")
    elif pilot.steering.act and any(a.name == "rewind" for a in pilot.actions):
        if pilot.steering.also:
            kept, rest = "weights, buffers, the optimizer's state and what was named", "the place in the data and schedules"
        else:
            kept, rest = "weights, buffers and the optimizer's state", "the place in the data, schedules, scalers and averages"
        parts.append(f"A rewind put back {kept}; {rest} went on as they were.")
    for why in list(pilot.steering.refused)[:3]:
        parts.append(f"Advice that only the loop itself can follow: {why}.")
    if pilot.steering.left_out:
        out = sorted(pilot.steering.left_out.items())
        named = {why: [name for name, other in out if other == why] for _, why in out}
        parts.append(f"Not asked: {'; '.join(f'{words.listing(some)} ({why})' for why, some in named.items())}.")
    return parts
