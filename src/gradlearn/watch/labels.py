"""Labels: are many of them wrong? Asked at the end, of examples about which there should be no doubt.

    share of wrong labels  ~  share of disagreement among the quarter that an honest predictor is surest of

Where labels are right, errors sit with the doubtful examples, and the sure quarter is all but free of them, however hard the rest;
labels that were flipped are as frequent among the sure as anywhere. Honest predictors are the model on validation data, and a
closed-form learner (`closed_form.py`) on training examples, each left out: a network that learned its labels by heart agrees with
them all. A weak predictor is wrong about sure ones too, but less so than about others, and its second guess is right. After
Northcutt, Jiang and Chuang, "Confident learning" (JAIR 2021), who count disagreements above a threshold of confidence. Not for
labels that are wrong in one kind of example only: those are learned like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gradlearn import closed_form, peek
from gradlearn.symbols import Batch, Finding, History, Objective, Step
from gradlearn.theta import Theta

__all__ = ["Labels"]

MOST = 800  # validation examples
PART = 100  # examples that pass through the model at once
NAMED = 10
PARTS = ("valid", "train")


class Labels:
    """Speaks where more labels are wrong than a score can be read with: "data fault".

    Args:
        share: of wrong labels, estimated.
    """

    when = "after"
    every = 1
    cost = 0.0

    def __init__(self, *, share: float = 0.08) -> None:
        self.share = share

    def measure(self, step: Step, theta: Theta, objective: Objective) -> Mapping[str, float] | None:
        """Of both predictors: how many of the surest quarter they get wrong, and of the next; the training examples they doubt."""
        data, valid = peek.of(objective, "data"), peek.of(objective, "valid")
        if data is None or len(data) < 100:
            return None
        rows: dict[str, float] = {"asked": float(len(data))}
        if valid is not None and len(valid) >= 80:
            batch = peek.taken(valid, peek.chosen(valid, MOST, "labels"))
            said, labels = outputs(objective, batch)
            rows |= {} if said is None or labels is None else counted("valid", said, labels)
        index = peek.chosen(data, closed_form.size(getattr(objective, "steps", 0)), "closed form")
        batch = peek.taken(data, index)
        said, labels = outputs(objective, batch)
        if said is None or labels is None:
            return None
        rows |= {"classes": float(said.shape[1])}
        x = peek.table(batch.x[0] if isinstance(batch.x, tuple) and batch.x else batch.x)
        if x is not None and bool(torch.isfinite(x).all()) and not peek.says_nothing(x):
            said = closed_form.left_out(x.cpu(), one_hot(labels, said.shape[1]))
            rows |= counted("train", said, labels)
        return rows | doubted(said, labels, batch.index)

    def judge(self, history: History) -> Finding | None:
        """A finding where what is known of the sure examples agrees on it."""
        rows = {k.partition(".")[2]: v[-1][1] for k, v in history.measured.items() if k.startswith("labels.")}
        if not rows or any(f.evidence.get("kind") == "label faults" for f in history.findings):
            return None
        known = {part: estimated(rows, part) for part in PARTS if f"{part}_sure" in rows}
        shares = {part: share for part, share in known.items() if share is not None}
        if not shares or min(shares.values()) == 0.0 or (rows["classes"] < 3 and "train" not in known):
            return None  # of two classes a weak model may well be sure and wrong: one opinion is too few
        share = sum(rows[f"{p}_wrong"] for p in shares) / sum(rows[f"{p}_sure"] for p in shares)
        if share < self.share:
            return None
        worst = [int(rows[f"worst_{k}"]) for k in range(NAMED) if f"worst_{k}" in rows]
        seen = [f"{rows[f'{p}_wrong']:.0f} of {rows[f'{p}_sure']:.0f} {p} examples" for p in shares]
        what = f"about {share:.0%} of the labels are wrong: {' and '.join(seen)} about which there is no doubt have another label"
        why = "labels that were mixed up, joined by the wrong key, or given in haste"
        remedy = "look at the examples named; mend the labels, label_smoothing or fewer steps meanwhile"
        evidence = {"kind": "label faults", "share": share, "examples": worst, **rows}
        return Finding(max(len(history.loss) - 1, 0), "data fault", "warn", what, why, remedy, evidence)


def estimated(rows: Mapping[str, float], part: str) -> float | None:
    """The share of wrong labels as one predictor sees it: 0 where there are none; None where it is too weak to tell."""
    sure, wrong, after = rows[f"{part}_sure"], rows[f"{part}_wrong"], rows[f"{part}_after"]
    share, next_share = wrong / sure, after / sure
    noise = math.sqrt(max(share * (1 - share), 0.02) / sure)
    if share - 1.6 * noise < 0.03:
        return 0.0
    blind = rows[f"{part}_blind"]
    # of many classes, who errs nearly as often as a guess where it is surest tells nothing of labels; of few, half may be flipped
    weak = share > min(blind - 2 * noise, 0.6 * blind if blind > 0.7 else 1.0) or next_share - share > 0.4 * share + 1.6 * noise
    return None if weak or rows[f"{part}_rank"] < 0.4 else share


def outputs(objective: Objective, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Probabilities (n, K) and labels (n,) of a classification; None of anything else."""
    labels = peek.classes(batch.y) if isinstance(batch.y, Tensor) and not batch.y.is_floating_point() else None
    if labels is None:
        return None, None
    with peek.untouched(objective.model), torch.no_grad():
        parts = batch.x.split(PART) if isinstance(batch.x, Tensor) else (batch.x,)  # else activations of all at once are in memory
        answers = [peek.outputs(objective.model, part) for part in parts]
    told = [answer for answer in answers if isinstance(answer, Tensor) and answer.ndim]
    if len(told) < len(answers) or sum(map(len, told)) != len(labels) or not all(bool(t.isfinite().all()) for t in told):
        return None, None
    output = torch.cat(told).double().cpu()
    if output.ndim == 1 or output.shape[1:].numel() == 1:
        output = torch.stack([torch.zeros(len(output), dtype=output.dtype), output.flatten()], 1)
    if output.ndim != 2:
        return None, None
    labels = labels.cpu()
    known = bool(((labels >= 0) & (labels < output.shape[1])).all())  # some may be ignored by the loss: nothing is said then
    return (output.softmax(1), labels) if known else (None, None)


def counted(part: str, said: Tensor, labels: Tensor) -> dict[str, float]:
    """How many examples are in the surest quarter, wrong in it, wrong in the next; what always guessing one class gets wrong."""
    order, wrong = surest(said).argsort(descending=True), said.argmax(1) != labels
    quarter = len(order) // 4
    first, after = (float(wrong[order[k * quarter : (k + 1) * quarter]].sum()) for k in (0, 1))
    blind = 1.0 - (torch.bincount(labels).max() / len(labels)).item()
    rows = {
        "sure": float(quarter),
        "wrong": first,
        "after": after,
        "blind": blind,
        "rank": rank(said, labels, order[: 2 * quarter]),
    }
    return {f"{part}_{what}": value for what, value in rows.items()}


def rank(said: Tensor, labels: Tensor, sure: Tensor) -> float:
    """Where the labels of those that are wrong stand among the other classes, from 0 (the next best) to 1 (the last).

    Flipped labels stand anywhere, half way on the average; the right ones of a weak predictor near the top. Two classes: 0.5.
    """
    said, labels = said[sure], labels[sure]
    above = (said > said.gather(1, labels[:, None])).sum(1).double()
    wrong = above > 0
    if said.shape[1] < 3 or not bool(wrong.any()):
        return 0.5
    return ((above[wrong] - 1) / (said.shape[1] - 2)).mean().item()


def surest(said: Tensor) -> Tensor:
    """(n,) how far the largest of each row is above the next."""
    top = said.topk(2, 1).values
    return top[:, 0] - top[:, 1]


def doubted(said: Tensor, labels: Tensor, index: Tensor) -> dict[str, float]:
    """The training examples whose label is farthest below the guess."""
    below = said.amax(1) - said.gather(1, labels[:, None]).flatten()
    order = below.argsort(descending=True)[:NAMED]
    return {f"worst_{k}": float(i) for k, i in enumerate(index[order].tolist())}


def sick() -> list[History]:
    """A fifth of the labels flipped, as both see it, and as the only one that can tell."""
    one = {"valid_sure": 150.0, "valid_wrong": 31.0, "valid_after": 33.0, "valid_blind": 0.88, "valid_rank": 0.5}
    two = {"train_sure": 100.0, "train_wrong": 22.0, "train_after": 24.0, "train_blind": 0.88, "train_rank": 0.55}
    return [told({**one, **two}), told(one)]


def well() -> list[History]:
    """Hard and clean; a weak predictor; one whose second guess is right; labels that nothing can be known of."""
    weak = {"valid_sure": 120.0, "valid_blind": 0.9, "valid_rank": 0.5}
    return [
        told({"valid_sure": 150.0, "valid_wrong": 2.0, "valid_after": 14.0, "valid_blind": 0.88, "valid_rank": 0.1}),
        told({**weak, "valid_wrong": 20.0, "valid_after": 55.0}),
        told({**weak, "valid_wrong": 50.0, "valid_after": 60.0, "valid_rank": 0.2}),
        told({**weak, "valid_wrong": 58.0, "valid_after": 60.0, "valid_blind": 0.5, "classes": 2.0}),
    ]


def told(found: Mapping[str, float]) -> History:
    """A short run that ended so."""
    history = History()
    for t in range(30):
        history.add(Step(t, 1.0 - 0.01 * t, 1.0, 0.1, 32, t * 0.1, True, 0.0))
    history.note(29, "labels", {"classes": 10.0, **found, "worst_0": 17.0, "worst_1": 803.0})
    return history
