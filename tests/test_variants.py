"""Variants of a plan: another rate and nothing else, few examples, and everything off that regularises."""

from __future__ import annotations

import torch

from gradlearn.plan import Plan, choose_batch, choose_descent
from gradlearn.variants import altered, few, held_of, loosened, smaller


def plan(**user: object) -> Plan:
    made = Plan({"steps": 600, "seed": 0} | {k.replace("__", "."): v for k, v in user.items()})
    choose_batch(made, 5000)
    choose_descent(made)
    return made


def values(p: Plan) -> dict[str, object]:
    return {k: c.value for k, c in p.items()}


def test_another_rate_is_all_that_differs():
    whole = plan()
    before = values(whole)
    assert values(altered(whole, 9.0)) == before | {"lr": 9.0}
    assert values(whole) == before, "the plan itself stays"


def test_few_examples_are_seen_often():
    whole = plan()
    rows = few(whole, 5000)
    assert len(rows) == 500
    assert torch.equal(rows, few(whole, 5000))
    assert len(set(rows.tolist())) == 500
    assert len(few(plan(steps=60, batch=50), 5000)) == 50, "at least 60 passes"
    assert len(few(whole, 30)) == 30
    assert values(smaller(whole, 40))["batch"] == 10 == values(smaller(whole, 40))["shuffle.size"]
    assert values(smaller(whole, 5000)) == values(whole)


def test_everything_that_holds_back_is_named_and_off():
    whole = plan(update="split", penalty=["l1"], shift=2, mirror=True, cross_entropy__label_smoothing=0.1, average="ema")
    held = held_of(whole)
    assert held.keys() >= {"penalty", "shift", "mirror", "cross_entropy.label_smoothing", "average", "adamw.weight_decay"}
    free = loosened(whole)
    assert held_of(free) == {}
    assert (free["penalty"], free["shift"], free["mirror"], free["average"]) == ([], 0, False, "plain")
    assert free["adamw.weight_decay"] == 0.0
    assert not any(k.startswith("ema.") for k in free.choices)
    assert free["lr"] == whole["lr"]


def test_an_average_that_is_the_update_stays():
    assert loosened(plan(update="schedule_free"))["average"] == "own"
