"""The story in full: questions a reader has, each answered from the data; `tell` is the paragraph and the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gradlearn.errors import printable
from gradlearn.report import confusion, detection, mistakes, reliability, story, words
from gradlearn.report import facts as measured
from gradlearn.report.facts import Facts
from gradlearn.report.folder import Run

FEW = 500  # examples of which a tenth set aside tells less than it costs
CHOSE = {
    "user": ("you", "set by you"),
    "plan": ("plan", "from the fixed plan"),
    "measured": ("measured", "from a measurement on this machine"),
    "data": ("data", "from the data"),
}


def tell(run: Run) -> list[str]:
    """The account in words: the one paragraph first, then the answer to each question that the data can answer."""
    return [opening(run), *(answer for _, answer in answers(run))]


def opening(run: Run) -> str:
    """The one paragraph: as the run stored it, else made again from the logs."""
    stored = run.summary.get("story")
    if isinstance(stored, str) and stored.strip():
        return printable(stored.strip(), 4000)
    return story.paragraph(run.settings, run.steps, run.scores, run.findings, run.actions, run.stop)


def answers(run: Run) -> list[tuple[str, str]]:
    """(question, answer) pairs; questions without an answer are left out."""
    facts = measured.gather(run.settings, run.steps, run.scores)
    found = run.settings.get("task") == "detect"  # things are found or missed there: no share of them is guessed right
    known = confusion.tally(run.confusion)
    counts = None if found else known
    pairs = [
        ("What was trained?", trained(run.settings, facts)),
        ("Who chose what?", chosen(run.settings)),
        ("What was known before the first step?", asked(run)),
        ("How did it go?", went(run, facts)),
        ("Was there trouble?", story.trouble(run.findings, run.actions) if facts.steps else ""),
        ("How good is it?", good(facts, run.settings, counts)),
        ("What does it find?", detection.told(detection.read(run.detection), known)),
        ("How sure is that?", sure(facts, run.settings)),
        ("Which pictures does it get wrong?", detection.hardest(run.drawn) if found else wrong(run, counts)),
        ("How sure may one be of its probabilities?", reliability.told(run)),
        ("Is anything wrong with the data?", faults(run)),
        ("What next?", following(run, facts, counts)),
    ]
    return [(question, answer) for question, answer in pairs if answer]


def asked(run: Run) -> str:
    """The sentences of the preflight; what was wrong first, what was not asked last."""
    rows = run.summary.get("preflight")
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    order = {"trouble": 0, "well": 1, "not asked": 2}
    said = sorted(found, key=lambda row: order.get(str(row.get("state")), 1))
    return " ".join(dict.fromkeys(printable(str(row.get("sentence", "")), 400) for row in said))


def trained(settings: Mapping[str, Any], facts: Facts) -> str:
    """Task, data, split."""
    table, kind = measured.data(settings), story.example(settings)
    parts = []
    shape = table.get("shape")
    if isinstance(shape, list) and len(shape) == 3 and all(words.finite(v) for v in shape):
        h, w, c = (int(v) for v in shape)
        parts.append(f"Each {kind} is {w}×{h} pixels in {'one channel' if c == 1 else f'{c} channels'}.")
    names = table.get("classes")
    if isinstance(names, list) and names:
        room = max(3, min(12, 160 // max(len(str(n)) + 2 for n in names)))
        shown = words.listing((printable(n, 30) for n in names), most=room)
        parts.append(f"The {words.plural(len(names), 'class', 'classes')}: {shown}.")
    roles = {
        "train": "trained on",
        "valid": "used to watch the run (validation)",
        "test": "set aside for the end (test)",
    }
    counts = [f"{words.count(facts.counts[s])} {role}" for s, role in roles.items() if s in facts.counts]
    if counts:
        parts.append(f"Of the {kind}s, {words.listing(counts)}.")
    return " ".join(parts)


def chosen(settings: Mapping[str, Any]) -> str:
    """How many settings were whose choice, and which were the user's."""
    choices = settings.get("choice")
    entries = {k: v for k, v in choices.items() if isinstance(v, Mapping)} if isinstance(choices, Mapping) else {}
    if not entries:
        return ""
    by = Counter(str(entry.get("by", "")) for entry in entries.values())
    mine = [f"`{printable(name, 40)}`" for name, entry in entries.items() if entry.get("by") == "user"]
    yours = f"You set {words.listing(mine, most=8)}" if mine else "You set nothing"
    rest = len(entries) - len(mine)
    if not rest:
        return f"{yours}; that is every setting."
    ways = [f"{by[k]} {CHOSE[k][1]}" for k in ("plan", "measured", "data") if by[k]]
    other = rest - sum(by[k] for k in ("plan", "measured", "data"))
    ways += [f"{other} without a word on how"] if other else []
    return f"{yours}; gradlearn chose the other {rest}: {words.listing(ways)}. Each is listed below with its reason."


def went(run: Run, facts: Facts) -> str:
    """Loss, rate, validation, skipped steps, speed."""
    if not facts.steps:
        return "No step is on record."
    parts = [story.course(facts), rate(facts), story.validation(facts, run.actions), story.overfitting(facts)]
    if facts.skipped:
        parts.append(f"{words.plural(facts.skipped, 'step was', 'steps were')} not applied.")
    if facts.seconds:
        total = words.finite(run.summary.get("seconds"))
        spent = words.duration(facts.seconds)
        whole = f", of {words.duration(total)} from start to end" if total and words.duration(total) != spent else ""
        each = words.duration(facts.seconds / facts.steps)
        parts.append(f"The steps took {spent}{whole}: {each} each on average.")
    parts.append(story.ending(run.stop, facts) or "The run ended as planned.")
    return " ".join(p for p in parts if p)


def rate(facts: Facts) -> str:
    """What the learning rate did."""
    if facts.lr_peak is None or facts.lr_last is None or facts.lr_top is None:
        return ""
    peak, last, (first, until) = words.number(facts.lr_peak), words.number(facts.lr_last), facts.lr_top
    if until == first == 0 or until - first >= 0.95 * facts.last:
        return f"The learning rate started at {peak} and was {last} at the last step."
    if until - first < 0.05 * facts.last:
        return f"The learning rate was highest at step {words.count(first)}, {peak}, and {last} at the last step."
    span = f"from step {words.count(first)} to {words.count(until)}"
    return f"The learning rate was highest {span}, {peak}, and {last} at the last step."


def good(facts: Facts, settings: Mapping[str, Any], counts: confusion.Tally | None) -> str:
    """The test score, what guessing would score, the weakest class, the commonest mistake."""
    parts = [story.verdict(facts, settings)]
    if counts is None or not counts.total:
        return parts[0]
    commonest, share = confusion.baseline(counts)
    parts.append(f"Always guessing the commonest class, “{commonest}”, would be right {words.percent(share)} of the time.")
    seen = [(recall, i) for i in range(len(counts.classes)) if (recall := counts.recall(i)) is not None]
    worst, i = min(seen)
    if worst < 1.0:
        found = f"{words.count(counts.matrix[i][i])} of {words.count(counts.support[i])}"
        parts.append(f"The weakest class is “{counts.classes[i]}”: {found} recognised ({words.percent(worst)}).")
    pairs = counts.pairs()
    if pairs and pairs[0][0] > 1:
        n, truth, guess = pairs[0]
        parts.append(f"The commonest mistake is “{truth}” taken for “{guess}”, {words.count(n)} times.")
    return " ".join(parts)


def sure(facts: Facts, settings: Mapping[str, Any]) -> str:
    """What is uncertain: the draw of the test set, the choice of the best look, the one seed."""
    parts = []
    interval, n = facts.interval("test", facts.test), facts.counts.get("test")
    if interval and n:
        half = words.points((interval[1] - interval[0]) / 2)
        parts.append(
            f"With {words.count(n)} test examples, chance alone moves the score by about {half} either way "
            "(95% interval, Wilson); to halve that takes four times as many."
        )
    if len(facts.valid) > 1:
        looks = words.count(len(facts.valid))
        parts.append(f"The best of {looks} validation scores is a little too kind: it was picked for being best.")
    seed = measured.choice(settings, "seed")
    if facts.steps:
        which = f" (seed {printable(seed, 24)})" if seed is not None else ""
        parts.append(f"This is one run with one seed{which}: another would score somewhat differently, by how much is not known.")
    return " ".join(parts)


def wrong(run: Run, counts: confusion.Tally | None) -> str:
    """How many pictures, the worst of them by name, and the one between two classes."""
    if counts is None or not counts.total or not counts.split:
        return ""
    n, part = counts.total - counts.right, confusion.PARTS[counts.split]
    parts = [f"{words.count(n)} of the {words.plural(counts.total, part + ' picture')}." if n else f"None of the {part} pictures."]
    named = [_mistaken(row) for row in run.mistakes[:3] if row.get("source")]
    if named:
        parts.append(f"{'The worst' if n > 1 else 'It is'}: {'; '.join(named)}.")
    first = next(iter(run.unsure), {})
    if first.get("source"):
        pair = [f"“{_named(first, k)}”{mistakes.share(first.get(p))}" for k, p in (("guess", "p"), ("second", "second p"))]
        parts.append(f"It is least sure of `{printable(first['source'], 60)}`: {' or '.join(pair)}.")
    return " ".join(parts)


def _named(row: Mapping[str, Any], key: str) -> str:
    return printable(row.get(key, "?"), 40)


def _mistaken(row: Mapping[str, Any]) -> str:
    guess = f"“{_named(row, 'guess')}”{mistakes.share(row.get('p'))}"
    return f"`{printable(row['source'], 60)}`, a “{_named(row, 'truth')}” taken for {guess}"


def faults(run: Run) -> str:
    """What the check of the data and the labels found that bears on the score."""
    rows = [row for row in run.lint or () if row.get("name") in HARM]
    parts = [words.sentence(printable(row.get("what", ""), 200)) for row in rows]
    copies = [
        row for row in rows if row.get("name") in ("leak", "near") and row.get("part") == "test" and row.get("other") == "train"
    ]
    known, n = sum(int(words.finite(row.get("count")) or 0) for row in copies), _asked(run, "test")
    if known and n:
        share = words.percent(min(known / n, 1.0))
        parts.append(f"What is in train as well is no test: on up to {share} of the test pictures the score is too kind.")
    doubts = doubted(run) if any(_found(run).values()) else ""
    return " ".join([*parts, *([doubts] if doubts else [])])


HARM = ("leak", "near", "labels", "near labels")


def _asked(run: Run, part: str) -> int:
    table = run.suspects.get("asked")
    return int(words.finite(table.get(part)) or 0) if isinstance(table, Mapping) else 0


def _found(run: Run) -> dict[str, int]:
    table = run.suspects.get("found")
    return {part: int(words.finite(table.get(part)) or 0) for part in confusion.PARTS} if isinstance(table, Mapping) else {}


def doubted(run: Run) -> str:
    """In how many pictures of each part the model contradicts the label with confidence, and what that is worth."""
    found = _found(run)
    asked = {part: n for part in confusion.PARTS if (n := _asked(run, part))}
    if not found or not asked:
        return ""
    if not any(found.values()):
        return f"The model contradicts no label with confidence, of {words.count(sum(asked.values()))} pictures asked."
    names = confusion.PARTS | {"train": "training"}
    counted = [f"{words.count(found[part])} of {words.plural(n, names[part] + ' picture')}" for part, n in asked.items()]
    text = f"The model contradicts the label with confidence (confident learning) in {words.listing(counted)}: "
    text += "either the label is wrong, or the model is."
    if "train" in asked:
        whole = int(words.finite(run.suspects.get("train")) or 0)
        few = f", and only {words.count(asked['train'])} of {words.count(whole)} were asked" if whole > asked["train"] else ""
        text += f" Wrong labels of training pictures may have been learned by heart{few}, so those are only some of them."
    return text


def following(run: Run, facts: Facts, counts: confusion.Tally | None) -> str:
    """What the numbers suggest to try."""
    parts = [story.advice(facts, run.stop)]
    if facts.steps:
        parts += _missing(facts, str(run.settings.get("task")) == "fit")
    if facts.steps and story.overfitting(facts):
        parts.append("Against overfitting: more data, stronger augmentation, or fewer steps.")
    bad = [row for row in run.lint or () if row.get("level") in ("warn", "error")]
    if bad:
        parts.append(f"The check of the data has {words.plural(len(bad), 'warning')}, listed below; look at those first.")
    if counts and counts.total and (pairs := counts.pairs()) and pairs[0][0] > 1:
        parts.append(f"Look at examples of “{pairs[0][1]}” and “{pairs[0][2]}”: they are confused the most.")
    parts = [p for p in parts if p]
    if not parts and facts.steps:
        return (
            "Nothing in the record asks for a change. A second run with another `--seed` and `gradlearn compare` show what is luck."
        )
    return " ".join(parts)


def _missing(facts: Facts, python: bool) -> list[str]:
    """Data that were not set aside, and how to: on the command line, or in Python."""
    parts = []
    if not facts.valid and (python or facts.counts.get("train", 0) >= FEW):
        parts.append(f"`{'valid=0.1' if python else '--valid 0.1'}` sets a tenth of the data aside to watch the run.")
    if facts.test is None and "test" not in facts.counts:
        way = "Data that the run never sees" if python else "`--test 0.1`, a tenth of the data set aside,"
        parts.append(f"{way} would score the result honestly.")
    return parts
