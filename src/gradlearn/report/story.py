"""What happened, in one honest paragraph: every sentence rests on a number of the run, and none names a cause not seen.

Order: what was trained, for how long; what the loss and the validation score did; findings, gravest first, and what was
done; the score on data that training never saw, with its noise; how the run ended; the one thing the numbers suggest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import facts as measured
from gradlearn.report import noise, words
from gradlearn.report.facts import Facts
from gradlearn.report.folder import events

EXAMPLES = {"images": "image", "detect": "image", "table": "row", "text": "text", "translate": "sentence pair"}
GRAVITY = {"alarm": 2, "error": 2, "warn": 1}
ENDS = {"done": "planned", "time": "planned", "signal": "signal", "numerics": "numerics"}  # stop.reason -> kind of end
WILD = 1000.0  # a loss that spans this factor and ends no lower than it began has no level
FEW = 10  # with fewer steps than this nothing is said of trends


def paragraph(
    settings: Mapping[str, Any],
    steps: Mapping[str, Sequence[Any]],
    scores: Sequence[Any],
    findings: Sequence[Any],
    actions: Sequence[Any],
    stop: Mapping[str, Any] | None,
) -> str:
    """The account in one paragraph, from plain data: run.toml as a dict, columns of steps, rows of the other logs."""
    facts = measured.gather(settings, steps, scores)
    rows, acts = events(findings), events(actions)
    parts = [
        opening(settings, facts),
        course(facts, short=True),
        validation(facts, acts),
        overfitting(facts) if facts.best != facts.final or facts.train is not None else "",
        trouble(rows, acts, most=1) if facts.steps else "",
        verdict(facts, settings),
        ending(stop, facts),
        advice(facts, stop),
    ]
    return " ".join(part for part in parts if part)


def example(settings: Mapping[str, Any]) -> str:
    """What one example of this task is called."""
    return EXAMPLES.get(str(settings.get("task", "")), "example")


def opening(settings: Mapping[str, Any], facts: Facts) -> str:
    """What was trained on what, for how long."""
    table = measured.data(settings)
    classes, n = table.get("classes"), facts.counts.get("train")
    model = measured.choice(settings, "model")
    subject = f"The model {printable(model, 60)}" if isinstance(model, str) and model else "A model"
    goal = ""
    if isinstance(classes, list) and classes:
        many = words.plural(len(classes), "class", "classes")
        goal = f" to find things of {many}" if settings.get("task") == "detect" else f" to tell {many} apart"
    amount = f" on {words.plural(n, example(settings))}" if n else ""
    place = table.get("source")
    source = f" ({printable(place, 80)})" if n and isinstance(place, str) and place not in ("", "memory") else ""
    if not facts.steps:
        return f"{subject} was to be trained{goal}{amount}{source}, but no step is on record."
    return f"{subject} was trained{goal}{amount}{source}, for {length(facts)}."


def length(facts: Facts) -> str:
    """'1,200 steps (61.1 passes over the data, 38 s)'."""
    inside = []
    if facts.passes:
        inside.append(f"{words.number(facts.passes)} {'pass' if facts.passes == 1 else 'passes'} over the data")
    if facts.seconds:
        inside.append(f"{words.duration(facts.seconds)} of computing")
    return words.plural(facts.steps, "step") + (f" ({', '.join(inside)})" if inside else "")


def course(facts: Facts, short: bool = False) -> str:
    """What the training loss did, as far as its own noise lets one say."""
    first, last = facts.start, facts.end
    if first is None or last is None:
        return "No training loss is on record as a finite number." if facts.steps else ""
    if facts.steps < FEW:
        few = "one step is" if facts.steps == 1 else f"{facts.steps} steps are"
        ends = f"{_loss(first.mean)} at first and {_loss(last.mean)} at last"
        return f"The training loss was {ends}; {few} too few to speak of a trend."
    doubt = 2.0 * (first.error**2 + last.error**2) ** 0.5
    if abs(last.mean - first.mean) <= doubt:
        if facts.range and facts.range[1] > WILD * max(facts.range[0], 0.0):
            low, high = map(_loss, facts.range)
            return f"The training loss found no level: it ranged from {low} to {high}."
        return f"The training loss did not clearly change: {_loss(first.mean)} at first, {_loss(last.mean)} at last."
    verb = "fell" if last.mean < first.mean else "rose"
    how = "" if short or first.n < 2 else f" (means over the first and the last {words.plural(first.n, 'step')})"
    return f"The training loss {verb} from {_loss(first.mean)} to {_loss(last.mean)}{how}."


def validation(facts: Facts, actions: Sequence[Mapping[str, Any]] = ()) -> str:
    """The best validation score and when, and where it ended if that is worse; the last score is of the weights that were kept."""
    if not facts.steps:
        return ""
    if facts.best is None or facts.final is None:
        if facts.counts.get("valid"):
            return "The validation data were not scored."
        if facts.test is not None:
            return "No data were set aside for validation: the run was not scored on the way, and ends with its last weights."
        return "No validation score is on record, so the run cannot tell learning from memorising."
    name = f"The validation {printable(facts.name, 40)}"
    best, final = words.score(facts.name, facts.best[1]), words.score(facts.name, facts.final[1])
    if len(facts.valid) == 1:
        return f"{name} was {final} at step {words.count(facts.final[0])}, the only time it was taken."
    if facts.best[0] == facts.final[0]:
        return f"{name} was best at the last look: {best} at step {words.count(facts.best[0])}."
    if any(a.get("name") == "keep" for a in actions):
        return f"{name} was best at step {words.count(facts.best[0])}, {best}, and is {final} with the weights that were kept."
    if best == final:
        return f"{name} was best at step {words.count(facts.best[0])}, {best}, and the same at the last look."
    return f"{name} was best at step {words.count(facts.best[0])}, {best}, and {final} at the last look."


def overfitting(facts: Facts) -> str:
    """The gap between data trained on and data not trained on, where there is one beyond noise."""
    if facts.train is not None and facts.final is not None:
        gap, n = facts.direction * (facts.train - facts.final[1]), facts.counts.get("valid")
        share = words.is_share(facts.name)
        doubt = 3.0 * noise.error(min(max(facts.final[1], 0.0), 1.0), n) if n and share else 0.0
        if gap > max(doubt, 0.03 if share else 0.05 * abs(facts.final[1])):
            size = words.points(gap) if share else words.number(gap)
            train, valid = words.score(facts.name, facts.train), words.score(facts.name, facts.final[1])
            return f"On its training data it reaches {train}, on the validation data {valid}, {size} apart: it overfits."
    if facts.turned and not _score_held(facts):
        t, low, last = facts.turned
        return (
            f"The validation loss was lowest at step {words.count(t)} ({_loss(low)}) and had risen to {_loss(last)} "
            "by the last look while the training loss fell: from there on the model overfitted."
        )
    return ""


def _score_held(facts: Facts) -> bool:
    """Whether the score, a share, ended within the noise of its best: then a risen loss alone does not tell of overfitting."""
    n = facts.counts.get("valid")
    if facts.best is None or facts.final is None or not n or not words.is_share(facts.name):
        return False
    fall = facts.direction * (facts.best[1] - facts.final[1])
    return fall <= 2.0 * noise.error(min(max(facts.final[1], 0.0), 1.0), n)


def trouble(findings: Sequence[dict[str, Any]], actions: Sequence[dict[str, Any]], most: int = 3) -> str:
    """The findings in order of harm, and what was done about them."""
    bad = sorted((f for f in findings if GRAVITY.get(f["level"])), key=lambda f: (-GRAVITY[f["level"]], f["t"]))
    if not bad:
        return " ".join(p for p in ("No health check raised a warning.", deeds(actions)) if p)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for finding in bad:
        kinds.setdefault(finding["name"], []).append(finding)
    parts = []
    for name, same in list(kinds.items())[:most]:
        times = "" if len(same) == 1 else f" ({len(same)} times in all)"
        what = words.sentence(printable(same[0]["what"], 240))
        at = f"“{printable(name or 'unnamed', 40)}” at step {words.count(same[0]['t'])}{times}"
        parts.append(f"{at}: {what}" if what else f"{at}.")
    more = len(kinds) - len(parts)
    if more:
        parts.append(f"{words.plural(more, 'further kind')} of finding {'is' if more == 1 else 'are'} on record.")
    lead = "A health check found " if len(kinds) == 1 else "The health checks found, gravest first, "
    return (lead + " ".join([*parts, deeds(actions)])).strip()


OFTEN = {  # what was done, and how often
    "rewind": "the weights were rewound",
    "restore": "the state of the update was taken back",
    "clip": "the gradient was bound",
    "escape": "a step was taken along negative curvature",
}
RATES = {  # what was done to the learning rate
    "warm": "raised",
    "recover": "brought back",
    "revert": "lowered again",
    "restart": "raised for a restart",
    "settle": "let fall after a restart",
}


def deeds(actions: Sequence[dict[str, Any]]) -> str:
    """What was done, kind by kind: 'In answer 2 batches were skipped and the weights were rewound once (step 415).'"""
    clauses = []
    for name in dict.fromkeys(a["name"] for a in actions if a["name"] != "guard"):  # what came of it is told: `spare`
        same = [a for a in actions if a["name"] == name]
        clauses += [_deed(name, same)] if name != "turn" else _turns(same)
    return f"What was done: {words.listing(clauses)}." if clauses else ""


def _deed(name: str, same: Sequence[dict[str, Any]]) -> str:
    n, at = len(same), words.listing((words.count(a["t"]) for a in same), most=4)
    where = f"(step{'s' if n > 1 else ''} {at})"
    who = {"clock": " by the clock", "user": " by the user"}.get(same[0]["by"], "")
    if name == "skip":
        return f"{words.plural(n, 'batch was', 'batches were')} skipped {where}"
    if name == "spare" and not same[-1]["dial"]:
        count = int(sum(a["after"] or 0 for a in same))
        return f"{words.plural(count, 'batch was', 'batches were')} left out for losses far above the usual {where}"
    if name == "spare":
        return f"the guard against bad batches was given up, since all were alike {where}"
    if name in OFTEN:
        return f"{OFTEN[name]} {'once' if n == 1 else f'{n} times'} {where}"
    if name in RATES:
        return f"the learning rate was {RATES[name]}{_times(same)} {where}"
    if name == "keep":
        step = words.count(same[-1]["after"] or 0)
        return f"the run ends with the weights of step {step}, which did better on the validation data than the last"
    if name == "finish":
        return f"the end was moved{who}{_change(same)} {where}"
    if name == "stop":
        return f"the run was stopped{who} {where}"
    return f"{printable(name, 40)}{who} {where}"


def _times(same: Sequence[dict[str, Any]]) -> str:
    """By how much a dial was turned in all: ' to 10 times what it was'."""
    before, after = same[0]["before"], same[-1]["after"]
    if not before or not after:
        return ""
    return f" to {words.number(after / before, 3)} {'times what it was' if after >= before else 'of it'}"


def _turns(same: Sequence[dict[str, Any]]) -> list[str]:
    clauses = []
    for dial in dict.fromkeys(a["dial"] for a in same):
        turns = [a for a in same if a["dial"] == dial]
        times = f"in {len(turns)} turns" if len(turns) > 1 else f"at step {words.count(turns[0]['t'])}"
        back = len(turns) > 1 and turns[0]["before"] == turns[-1]["after"] is not None
        how = f" and came back to {words.number(turns[-1]['after'], 4)}" if back else _change(turns)
        clauses.append(f"the {printable(dial or 'unnamed', 40)} dial was turned{how} {times}")
    return clauses


def _change(turns: Sequence[dict[str, Any]]) -> str:
    before, after = turns[0]["before"], turns[-1]["after"]
    return f" from {words.number(before, 4)} to {words.number(after, 4)}" if before is not None and after is not None else ""


def verdict(facts: Facts, settings: Mapping[str, Any]) -> str:
    """The score on data that training never saw, and the noise that so many examples leave."""
    n = facts.counts.get("test")
    what = f"the {words.plural(n, 'test ' + example(settings))}" if n else "the test data"
    if facts.test is None:
        if n:
            return f"{words.sentence(what)[:-1]} {'was' if n == 1 else 'were'} not scored."
        return "No test data were scored, so how good the model is on data that had no part in the run is not known."
    text = f"On {what}, which training never saw, the {printable(facts.name, 40)} is {words.score(facts.name, facts.test)}"
    interval = facts.interval("test", facts.test)
    if interval is None or not n:
        return text + "."
    wrong = n - facts.test * n
    whole = abs(wrong - round(wrong)) < 1e-3 and facts.name.lower() == "accuracy"
    low, high = (words.percent(v) for v in interval)
    chance = f" That is no better than guessing ({words.percent(facts.guess)})." if facts.guessing else ""
    return f"{text} ({f'{words.count(wrong)} wrong, ' if whole else ''}95% interval {low} to {high}).{chance}"


def ended(stop: Mapping[str, Any] | None) -> str:
    """The kind of end: 'planned', 'signal', 'numerics', 'other', or 'unknown' where none is on record."""
    return "unknown" if stop is None else ENDS.get(str(stop.get("reason", "")), "other")


def ending(stop: Mapping[str, Any] | None, facts: Facts) -> str:
    """How the run ended, unless it simply ended as planned."""
    kind = ended(stop)
    if kind == "planned":
        return ""
    of = f" of {words.count(facts.planned)} planned" if facts.planned and facts.planned > facts.steps else ""
    if kind == "unknown":
        done = words.plural(facts.steps, "step") + of
        return f"No end is on record: the run was killed or is still going, with {done} done."
    said = printable((stop or {}).get("message") or (stop or {}).get("reason") or "", 200)
    if kind == "signal":
        return f"It was stopped by a signal after {words.plural(facts.steps, 'step')}{of}."
    if kind == "numerics":
        return f"The remedies could not keep it going and it ended at step {words.count(facts.last)}{of}" + (
            f": {words.sentence(said)}" if said else "."
        )
    return f"It ended after {words.plural(facts.steps, 'step')}{of}: {words.sentence(said)}" if said else ""


def advice(facts: Facts, stop: Mapping[str, Any] | None) -> str:
    """The one thing to try that the numbers speak for most; empty where they speak for none."""
    kind = ended(stop)
    peak = words.number(facts.lr_peak)
    if kind == "numerics" and facts.lr_peak:
        return f"A run with a learning rate below the peak of this one, {peak}, would show whether it was too high."
    if kind in ("signal", "unknown"):
        return "`gradlearn resume` takes it up again."
    if facts.guessing and facts.lr_peak and facts.steps >= FEW:
        return f"A run with a learning rate well below the peak of this one, {peak}, is the first thing to try."
    if facts.still_improving and facts.gain is not None:
        gain = words.points(facts.gain) if words.is_share(facts.name) else words.number(facts.gain)
        return f"It was still improving, by {gain} over the last quarter, so more time would likely help."
    return ""


def _loss(value: float) -> str:
    return words.number(value)
