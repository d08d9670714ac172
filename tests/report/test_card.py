"""A model card says what the run folder says, in a sound table, for every kind of run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gradlearn.report import card, confusion, noise, words
from gradlearn.report import facts as measured
from gradlearn.report.folder import read

from .conftest import KINDS

Make = Callable[..., Path]
ABOUT = {
    "preprocessing": [{"step": "turn", "what": "upside down"}, {"step": "cut", "what": "in two"}],
    "outputs": {"probabilities": "of each class"},
    "postprocessing": [{"step": "answer", "what": "the largest"}],
    "limits": ["it knows only these"],
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_run_has_a_card_with_sound_tables(make: Make, kind: str):
    text = card.text(read(make(kind)), ABOUT, "Title", "import this")
    assert text.startswith("# Title\n\n")
    assert text.count("```") == 2
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[-1] == "Use it"
    assert {"Trained on", "How good it is", "What goes in", "What comes out", "Limits"} <= {*heads}
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert not re.search(r"\bnan\b|\bNone\b", text.split("## Use it")[0])


def test_scores_and_classes_are_those_of_the_run(make: Make):
    run = read(make("healthy"))
    facts, counts = measured.gather(run.settings, run.steps, run.scores), confusion.tally(run.confusion)
    text = card.text(run, ABOUT, "Title", "pass")
    assert facts.test is not None
    low, high = noise.wilson(facts.test, 360)
    assert f"| 360 | {words.percent(facts.test)} | {words.percent(low)} to {words.percent(high)} |" in text
    assert counts is not None
    assert f"| 3 | {counts.support[3]} | {words.percent(counts.recall(3), 0)} |" in text
    assert "1. turn: upside down\n2. cut: in two" in text
    assert "- `probabilities`: of each class\n\n1. answer: the largest" in text
    assert "- it knows only these\n" in text


def test_what_is_not_known_is_said(make: Make):
    place = make("healthy")
    rows = [row for row in map(json.loads, (place / "scores.jsonl").read_text().splitlines()) if row["split"] != "test"]
    (place / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "no test data were scored" in card.text(read(place), {}, "Title", "pass")
    (place / "scores.jsonl").write_text("")
    assert "Nothing was scored." in card.text(read(place), {}, "Title", "pass")


def test_a_bar_in_a_name_splits_no_row():
    assert card.cell("a|b\n") == "a\\|b\\n"
