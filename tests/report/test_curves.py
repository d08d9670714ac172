from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradlearn.report import curves
from gradlearn.report import facts as measured
from gradlearn.report.folder import read

Make = Callable[..., Path]


def drawn(place: Path) -> str:
    run = read(place)
    return curves.charts(run, measured.gather(run.settings, run.steps, run.scores), curves.happened(run))


def test_all_five_curves_are_drawn(make: Make) -> None:
    html = drawn(make("healthy"))
    for title in ("Loss", "Accuracy", "Learning rate", "Gradient norm", "Time per step"):
        assert f"<h3>{title}</h3>" in html
    assert html.count("<svg") == 5
    assert "shaded: 95% interval for 180 examples" in html
    assert html.count('class="ring"') == 1


def test_flags_stand_on_loss_and_score_and_lines_on_all(make: Make) -> None:
    html = drawn(make("diverged"))
    assert html.count('class="flag alarm"') == 2
    parts = html.split("<figure")[1:]
    assert all('class="event alarm"' in part for part in parts)
    assert "on the way to the new end" in html


def test_one_slow_first_step_is_said_not_drawn_to_scale(make: Make) -> None:
    assert "the highest, 94.9 ms, is above the axis" in drawn(make("healthy"))


def test_a_run_with_scores_only_and_one_with_one_step(make: Make) -> None:
    place = make("killed")
    (place / "steps.jsonl").write_text("")
    assert drawn(place).count("<svg") == 2
    (place / "scores.jsonl").write_text("")
    (place / "steps.jsonl").write_text('{"t":0,"loss":2.0,"norm":1.0,"lr":0.1,"n":1,"epoch":1.0,"applied":true,"seconds":0.1}\n')
    assert drawn(place).count("<circle") == 4


def test_a_training_loss_that_is_not_the_validation_loss_is_said(make: Make) -> None:
    assert "lower is better</span>" in drawn(make("healthy"))
    place = make("healthy", "smooth")
    text = (place / "run.toml").read_text() + '\n[choice."cross_entropy.label_smoothing"]\nvalue = 0.1\n'
    (place / "run.toml").write_text(text)
    assert "the training loss includes label smoothing of 0.1" in drawn(place)
