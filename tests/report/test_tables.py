from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradlearn.report import curves, tables
from gradlearn.report.folder import read

Make = Callable[..., Path]


def test_every_setting_is_listed_with_who_and_why(make: Make) -> None:
    run = read(make("healthy"))
    html = tables.settings(run)
    assert html.count("<tr>") == 1 + len(run.settings["choice"])
    for entry in run.settings["choice"].values():
        assert tables.words.safe(entry["why"], 400) in html
    assert '<span class="pill user" title="set by you">you</span>' in html


def test_events_are_numbered_by_step_and_a_finding_precedes_its_action(make: Make) -> None:
    run = read(make("diverged"))
    events = curves.happened(run)
    assert [e.number for e in events] == list(range(1, 11))
    assert [e.t for e in events] == sorted(e.t for e in events)
    assert [e.kind for e in events if e.t == 414] == ["finding", "action"]
    html = tables.happenings(events)
    assert html.count("<tr>") == 11
    assert "dial rate: 1 → 0.5" in html
    assert "Evidence: loss = 34.1, median = 0.31" in html


def test_of_very_many_events_the_gravest_come_first(make: Make) -> None:
    run = read(make("diverged"))
    many = [e for e in curves.happened(run) for _ in range(30)]
    html = tables.happenings(many)
    assert "The ten gravest of 300:" in html
    assert html.index("diverged") < html.index("<details>")
    assert "100 more rows not shown" in html


def test_the_check_of_the_data_says_when_there_was_none() -> None:
    assert "No check of the data is on record" in tables.lint(None)
    assert "found nothing" in tables.lint([])
    html = tables.lint([{"level": "warn", "what": "small <x>", "count": 3, "examples": ["a/b.png"]}])
    assert "small &lt;x&gt;" in html
    assert "<code>a/b.png</code>" in html


def test_scores_put_the_test_first(make: Make) -> None:
    run = read(make("healthy"))
    html = tables.scores(run.scores)
    assert html.count("<tr>") == 1 + len(run.scores)
    assert html.index(">test<") < html.index(">valid<")


def test_values_read_well() -> None:
    found = [tables.value(v) for v in (None, True, 3, 0.004, [8, 8, 1], {"a": 1}, "<x>", "")]
    assert found == ["–", "yes", "3", "0.004", "8, 8, 1", "a = 1", "&lt;x&gt;", "–"]
