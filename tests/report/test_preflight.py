"""Preflight in words: each question has its sentence, what was not asked says so, and a finding speaks for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn import peek, preflight
from gradlearn.descent import ring_of
from gradlearn.report.account import asked
from gradlearn.report.folder import read
from gradlearn.report.preflight import sentences
from gradlearn.theta import Theta

MEASURED = {
    "rows.looked": 100.0, "rows.n": 100.0, "rows.leaked": 0.0, "start.loss": 2.31, "start.chance": 2.303, "start.norm": 1.5,
    "precision.offset": 1e-6, "start.dead": 0.125, "start.asked": 3.0, "start.fell": 0.2, "start.seconds": 0.002,
    "start.bytes": 3.2e6, "start.free": 8e9,
}  # fmt: skip


def by_question(
    measured: dict[str, float], findings: tuple[dict[str, Any], ...] = (), steps: int = 1000
) -> dict[str, tuple[str, str]]:
    return {row["question"]: (row["state"], row["sentence"]) for row in sentences(measured, findings, steps)}


def test_every_question_has_a_sentence_with_its_numbers():
    said = by_question(MEASURED)
    assert len(said) == 7
    assert {state for state, _ in said.values()} == {"well"}
    text = " ".join(sentence for _, sentence in said.values())
    for number in ("100 examples", "2.31", "2.3", "1.5", "12.5%", "1e-6", "20.0%", "2 ms", "2.0 s", "3.2 MB"):
        assert number in text, number


def test_what_a_short_run_has_no_room_for_is_named():
    said = by_question(MEASURED | {"start.asked": 1.0} | dict.fromkeys(("start.fell", "start.seconds"), 0.0), steps=60)
    assert said["Is the gradient right?"] == (
        "not asked",
        "Whether the gradient is right was not asked: of a run of 60 steps it would have taken more than 2 %.",
    )


@pytest.mark.parametrize(
    ("name", "by", "question"),
    [
        ("data fault", "", "Are the data whole?"),
        ("exploding", "start", "Does it start at chance?"),
        ("vanishing", "start", "Does the gradient get through?"),
        ("precision fault", "start", "Is the gradient right?"),
        ("underfit", "start", "Can it learn at all?"),
    ],
)
def test_a_finding_from_before_the_first_step_speaks_for_its_question(name: str, by: str, question: str):
    finding = {"t": 0, "name": name, "level": "warn", "what": "this is wrong", "evidence": {"by": by}}
    assert by_question(MEASURED, (finding,))[question] == ("trouble", "This is wrong.")
    assert by_question(MEASURED, (finding | {"t": 5},))[question][0] == "well"
    assert by_question(MEASURED, (finding | {"level": "info"},))[question][0] == "well"


def test_columns_that_rounding_has_eaten_are_told_whenever_they_were_seen():
    finding = {"t": 24, "name": "precision fault", "level": "warn", "what": "rounding is 30% of it", "evidence": {"kind": "offset"}}
    assert by_question(MEASURED, (finding,))["Are the numbers fine enough?"] == ("trouble", "Rounding is 30% of it.")


def test_memory_that_is_not_there_is_trouble():
    state, sentence = by_question(MEASURED | {"start.bytes": 9e9})["What will it take?"]
    assert state == "trouble"
    assert "9 GB, of which 8 GB are free" in sentence


def test_the_examples_that_are_in_both_parts_are_counted_and_none_is_claimed_without_a_look():
    def said(more: dict[str, float]) -> str:
        return by_question(MEASURED | more)["Are the data whole?"][1]

    assert said({"rows.held": 0.0}) == "In all 100 examples every number is finite."
    assert said({"rows.held": 50.0}).endswith("and none of 50 for validation is among them.")
    assert said({"rows.held": 50.0, "rows.leaked": 2.0}).endswith("and 2 of 50 for validation are among them.")
    assert said({"rows.n": 4000.0}).startswith("In the 100 of 4,000 examples looked at every number is finite")


def test_nothing_asked_says_nothing_of_the_model():
    assert [row["state"] for row in sentences({}, [], 100)] == ["not asked"]


def test_the_bytes_are_those_of_theta_and_of_what_backward_needs():
    torch.manual_seed(0)
    x, y = torch.randn(64, 30), torch.randint(2, (64,))
    model = nn.Sequential(nn.Linear(30, 50), nn.ReLU(), nn.Linear(50, 2))

    class Told:
        def __init__(self) -> None:
            self.model = model

        def __call__(self, batch: Any) -> Any:
            from gradlearn.symbols import Losses

            return Losses(nn.functional.cross_entropy(model(batch.x), batch.y, reduction="none"), torch.ones(batch.n))

    from gradlearn.symbols import Batch

    theta = Theta(model)
    batch = Batch(x, y, torch.arange(64), 1)
    with peek.untouched(model, train=True):
        one, four = (preflight.costs(Told(), theta, batch, n) for n in (64, 256))  # type: ignore[arg-type]
    weights = sum(b.flat.nbytes for b in theta.blocks)
    saved = one["bytes"] - (preflight.KEPT + (preflight.KEPT - 1) * ring_of(len(theta))) * weights
    least = 4 * 64 * (30 + 50 + 2)  # inputs, hidden units, log-probabilities
    assert least <= saved <= 1.2 * least + 64 * 16
    assert four["bytes"] - (preflight.KEPT + (preflight.KEPT - 1) * ring_of(len(theta))) * weights == pytest.approx(4 * saved)


def test_python_command_line_and_report_say_the_same(tmp_path: Path):
    torch.manual_seed(0)
    x = torch.randn(300, 8)
    run = gradlearn.fit(nn.Linear(8, 2), (x, (x[:, 0] > 0).long()), steps=120, batch=16, run=tmp_path / "run")
    states = {row["question"]: row["state"] for row in run.preflight}
    assert states["Are the data whole?"] == "well"
    assert states["Can it learn at all?"] == "not asked"
    told = asked(read(tmp_path / "run"))
    for row in run.preflight:
        assert row["sentence"] in told
    assert "What was known before the first step?" in run.report().read_text()
