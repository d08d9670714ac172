from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradlearn import remedy
from gradlearn.report import facts as measured
from gradlearn.report import story
from gradlearn.report.folder import read

Make = Callable[..., Path]


def paragraph(place: Path, **change: Any) -> str:
    """The paragraph of a run folder, as a training loop would ask for it."""
    run = read(place)
    parts: dict[str, Any] = {"settings": run.settings, "steps": run.steps, "scores": run.scores}
    parts |= {"findings": run.findings, "actions": run.actions, "stop": run.stop} | change
    return story.paragraph(**parts)


def test_a_healthy_run(make: Make) -> None:
    text = paragraph(make("healthy"))
    for piece in (
        "to tell 10 classes apart on 1,257 images",
        "1,200 steps (60 passes over the data, ",
        "The training loss fell from 1.",
        "The validation accuracy was best at step 660, 98.9%, and the same at the last look.",
        "No health check raised a warning.",
        "On the 360 test images, which training never saw, the accuracy is 98.6% (5 wrong, 95% interval",
        "interval 96.8% to 99.4%).",
    ):
        assert piece in text
    for piece in ("overfit", "more time", "ended", "stopped", "\n", "  "):
        assert piece not in text


def test_weights_that_were_kept_are_not_told_as_the_last() -> None:
    facts = measured.gather({}, {"t": list(range(40)), "loss": [1.0] * 40}, [scored(10, 0.95), scored(20, 1.0), scored(40, 1.0)])
    assert story.validation(facts).endswith("best at step 20, 100%, and the same at the last look.")
    kept = [{"t": 39, "name": "keep", "before": 40.0, "after": 20.0}]
    assert story.validation(facts, kept).endswith("best at step 20, 100%, and is 100% with the weights that were kept.")


def scored(t: int, value: float) -> dict[str, Any]:
    return {"t": t, "split": "valid", "name": "accuracy", "higher": True, "value": value, "all": {}}


def test_still_improving_at_the_end(make: Make) -> None:
    text = paragraph(make("broad"))
    assert "was best at the last look: 65.0% at step 8,000" in text
    assert text.endswith("It was still improving, by 11.2 points over the last quarter, so more time would likely help.")


def test_overfitting_by_the_gap_and_by_the_turn(make: Make) -> None:
    place = make("overfitted")
    gap = "On its training data it reaches 99.8%, on the validation data 81.1%, 18.7 points apart: it overfits."
    assert gap in paragraph(place)
    scores = [row for row in read(place).scores if row["split"] != "train"]
    assert "overfit" not in paragraph(place, scores=scores), "the accuracy held within its noise"
    last = max(i for i, row in enumerate(scores) if row["split"] == "valid")
    scores[last] = scores[last] | {"value": scores[last]["value"] - 0.1}
    text = paragraph(place, scores=scores)
    assert "The validation loss was lowest at step 480 (" in text
    assert "from there on the model overfitted" in text


def test_diverged_and_rewound(make: Make) -> None:
    text = paragraph(make("diverged"))
    assert "gravest first, “diverged” at step 413: The loss is 57 times its running median of 0.31." in text
    assert "2 further kinds of finding are on record." in text
    assert "3 batches were skipped (steps 414, 415 and 416)" in text
    assert "the weights were rewound once (step 416)" in text
    assert "the rate dial was turned from 1 to 0.5 at step 416" in text
    assert "the end was moved by the clock from 1,400 to 1,200 (step 1,080)" in text
    assert "healthy" not in text


def test_a_dial_that_came_back_is_said_to_have_come_back() -> None:
    turn = {"name": "turn", "dial": "decay", "by": "", "why": ""}
    there = [turn | {"t": 10, "before": 1.0, "after": 2.0}, turn | {"t": 30, "before": 2.0, "after": 1.0}]
    assert "the decay dial was turned and came back to 1 in 2 turns" in story.trouble([], there)
    assert "the decay dial was turned from 1 to 2 at step 10" in story.trouble([], there[:1])


def test_findings_come_in_order_of_harm(make: Make) -> None:
    run = read(make("diverged"))
    text = story.trouble(run.findings[::-1], run.actions, most=9)
    assert text.index("“diverged”") < text.index("“non-finite”") < text.index("“plateau”")


def test_stopped_by_a_signal(make: Make) -> None:
    text = paragraph(make("killed"), stop={"reason": "signal", "message": "stopped by signal 15 after step 511; saved"})
    assert "It was stopped by a signal after 512 steps of 1,200 planned. `gradlearn resume` takes it up again." in text


def test_ended_by_numerics(make: Make) -> None:
    text = paragraph(make("killed"), stop={"reason": "numerics", "message": "the gradient was not finite 4 times"})
    assert "it ended at step 511 of 1,200 planned: The gradient was not finite 4 times." in text
    assert "a learning rate below the peak of this one, 0.004, would show whether it was too high" in text


def test_killed(make: Make) -> None:
    assert "No end is on record: the run was killed or is still going, with 512 steps of 1,200 planned done." in paragraph(
        make("killed")
    )


def test_time_used_up_is_an_end_as_planned(make: Make) -> None:
    assert story.ended({"reason": "time", "message": ""}) == "planned"
    assert story.ended({"reason": "done"}) == "planned"
    assert story.ended({}) == "other"
    assert story.ended(None) == "unknown"


def test_without_validation_and_test(make: Make) -> None:
    text = paragraph(make("healthy"), scores=[], settings={"task": "fit", "data": {"source": "memory", "train": 50}})
    assert text.startswith("A model was trained on 50 examples, for 1,200 steps")
    assert "No validation score is on record, so the run cannot tell learning from memorising." in text
    assert "No test data were scored, so how good the model is on data that had no part in the run is not known." in text


def test_test_data_that_were_not_scored(make: Make) -> None:
    place = make("healthy")
    scores = [row for row in read(place).scores if row["split"] != "test"]
    assert "The 360 test images were not scored." in paragraph(place, scores=scores)


@pytest.mark.parametrize(("n", "piece"), [(1, "one step is too few"), (5, "5 steps are too few"), (0, "no step is on record")])
def test_very_few_steps(make: Make, n: int, piece: str) -> None:
    place = make("healthy")
    steps = {name: column[:n] for name, column in read(place).steps.items()}
    text = paragraph(place, steps=steps, scores=[])
    assert piece in text
    assert "fell" not in text


def test_noise_is_not_told_as_progress(make: Make) -> None:
    place = make("healthy")
    steps = read(place).steps
    flat = [2.3 + (0.1 if t % 2 else -0.1) + 1e-4 * t / 1200 for t in range(1200)]
    assert "The training loss did not clearly change: 2.3 at first, 2.3 at last." in paragraph(place, steps=steps | {"loss": flat})
    rising = [2.0 + t / 1200 for t in range(1200)]
    assert "The training loss rose from 2.02 to 2.97." in paragraph(place, steps=steps | {"loss": rising})


def test_a_loss_without_a_level_is_not_told_as_a_trend(make: Make) -> None:
    place = make("healthy")
    wild = [2.3, 1e5, 5e9] * 20
    steps = {name: column[:60] for name, column in read(place).steps.items()} | {"loss": wild}
    assert "The training loss found no level: it ranged from 2.3 to 5e9." in paragraph(place, steps=steps)


def test_no_better_than_guessing_is_said(make: Make) -> None:
    text = paragraph(make("healthy", right=40))
    assert "95% interval 8.3% to 14.8%). That is no better than guessing (10.0%)." in text
    assert text.endswith("A run with a learning rate well below the peak of this one, 0.004, is the first thing to try.")
    assert "guessing" not in paragraph(make("healthy", "other", right=72))


def test_validation_data_not_scored_yet(make: Make) -> None:
    assert "The validation data were not scored." in paragraph(make("killed"), scores=[])


def test_it_works_from_raw_values_of_a_loop() -> None:
    """NaN, numbers as they are in memory, columns that a loop does not keep."""
    steps = {
        "t": [0, 1, 2],
        "loss": [2.0, float("nan"), float("inf")],
        "norm": [1.0, 2.0, 3.0],
        "applied": [True, False, False],
    }
    text = story.paragraph({}, steps, [], [{"t": 1, "name": "non-finite", "level": "alarm", "what": "x"}], [], {"reason": "odd"})
    assert "A model was trained, for 3 steps." in text
    assert "It ended after 3 steps: Odd." in text
    assert "nan" not in text


def test_every_number_of_the_paragraph_is_in_the_data(make: Make) -> None:
    """Change the data and the sentence changes: 341 right instead of 355."""
    one, two = paragraph(make("healthy", "a")), paragraph(make("healthy", "b", right=341))
    assert one != two
    assert one.replace("98.6% (5 wrong, 95% interval 96.8% to 99.4%)", "94.7% (19 wrong, 95% interval 91.9% to 96.6%)") == two


def test_nothing_of_a_hostile_run_reaches_the_terminal(make: Make) -> None:
    text = paragraph(make("hostile"))
    assert text.isprintable()
    assert json.dumps(text)


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("rewind", 40.0, 30.0, "the weights were rewound once (step 40)"),
        ("restore", 40.0, 30.0, "the state of the update was taken back once (step 40)"),
        ("clip", None, None, "the gradient was bound once (step 40)"),
        ("escape", None, None, "a step was taken along negative curvature once (step 40)"),
        ("warm", 1.0, 1000.0, "the learning rate was raised to 1,000 times what it was (step 40)"),
        ("recover", 0.25, 0.5, "the learning rate was brought back to 2 times what it was (step 40)"),
        ("revert", 10.0, 1.0, "the learning rate was lowered again to 0.1 of it (step 40)"),
        ("restart", 0.1, 1.0, "the learning rate was raised for a restart to 10 times what it was (step 40)"),
        ("settle", 1.0, 0.5, "the learning rate was let fall after a restart to 0.5 of it (step 40)"),
    ],
)
def test_every_deed_of_a_remedy_has_words(name: str, before: float | None, after: float | None, said: str) -> None:
    assert story.deeds([{"t": 40, "name": name, "dial": "rate", "before": before, "after": after, "by": "watch", "why": ""}]) == (
        f"What was done: {said}."
    )


def test_no_action_of_any_remedy_is_without_words() -> None:
    made = set(re.findall(r'Action\([^,]+, "([a-z]+)"', "".join(p.read_text() for p in Path(remedy.__path__[0]).glob("*.py"))))
    assert len(made) > 8
    for name in made - {"turn"}:
        assert not story.deeds([{"t": 1, "name": name, "dial": "", "before": 1.0, "after": 2.0, "by": "watch"}]).startswith(
            f"What was done: {name} "
        ), name
