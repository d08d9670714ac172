from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gradlearn.report import account
from gradlearn.report.folder import read

Make = Callable[..., Path]


def test_the_paragraph_comes_first_then_the_answers(make: Make) -> None:
    run = read(make("healthy"))
    told = account.tell(run)
    assert told[0] == account.opening(run)
    assert told[1:] == [answer for _, answer in account.answers(run)]
    assert all(isinstance(line, str) and line for line in told)


def test_a_stored_story_is_kept(make: Make) -> None:
    place = make("healthy")
    summary = json.loads((place / "summary.json").read_text()) | {"story": "As it was told."}
    (place / "summary.json").write_text(json.dumps(summary))
    assert account.opening(read(place)) == "As it was told."


def test_who_chose_what_adds_up(make: Make) -> None:
    run = read(make("healthy"))
    text = account.chosen(run.settings)
    assert text.startswith("You set `lr`; gradlearn chose the other 7: 4 from the fixed plan, 1 from a measurement")
    mine = {"choice": {"lr": {"value": 1, "by": "user"}}}
    assert account.chosen(mine) == "You set `lr`; that is every setting."
    assert account.chosen({"choice": {"lr": {"value": 1}}}).endswith(
        "1 without a word on how. Each is listed below with its reason."
    )
    assert account.chosen({}) == ""


def test_answers_of_a_healthy_run(make: Make) -> None:
    answers = dict(account.answers(read(make("healthy"))))
    assert "Each image is 8×8 pixels in one channel." in answers["What was trained?"]
    assert "The learning rate was highest at step 59, 0.004, and 1.75e-6 at the last step." in answers["How did it go?"]
    assert "The run ended as planned." in answers["How did it go?"]
    good = answers["How good is it?"]
    assert "Always guessing the commonest class, “0”, would be right 10.0% of the time." in good
    assert "The weakest class is “8”: 34 of 36 recognised (94.4%)." in good
    assert "The commonest mistake is “8” taken for “1”, 2 times." in good
    assert "about 1.3 points either way" in answers["How sure is that?"]
    assert "(seed 0)" in answers["How sure is that?"]
    assert "The check of the data has 1 warning" in answers["What next?"]


def test_advice_follows_from_what_is_missing(make: Make) -> None:
    place = make("empty")
    assert dict(account.answers(read(place)))["How did it go?"] == "No step is on record."
    run = read(make("overfitted", "b"))
    assert "Against overfitting" in dict(account.answers(run))["What next?"]
    blind = make("killed", "c")
    (blind / "scores.jsonl").write_text("")
    assert "`--valid 0.1`" in dict(account.answers(read(blind)))["What next?"]


def test_a_run_that_asks_for_nothing_is_told_so(make: Make) -> None:
    place = make("healthy", right=360)
    (place / "pictures" / "lint.json").write_text("[]")
    assert dict(account.answers(read(place)))["What next?"].startswith("Nothing in the record asks for a change.")


def test_what_bears_on_the_score_is_said(make: Make) -> None:
    place = make("healthy")
    lint = [
        {
            "level": "warn",
            "what": "7 of 360 pictures of test are also in train",
            "count": 7,
            "name": "leak",
            "part": "test",
            "other": "train",
        },
        {"level": "info", "what": "x", "count": 1, "name": "blank"},
    ]
    (place / "pictures" / "lint.json").write_text(json.dumps(lint))
    asked = {
        "asked": {"valid": 180, "test": 360, "train": 500},
        "found": {"valid": 0, "test": 2, "train": 3},
        "train": 1257,
        "rows": [],
    }
    (place / "pictures" / "suspects.json").write_text(json.dumps(asked))
    text = dict(account.answers(read(place)))["Is anything wrong with the data?"]
    assert text.startswith("7 of 360 pictures of test are also in train.")
    assert "on up to 1.9% of the test pictures the score is too kind" in text
    assert "3 of 500 training pictures, 0 of 180 validation pictures and 2 of 360 test pictures" in text
    assert "only 500 of 1,257 were asked" in text
    asked["found"] = {"valid": 0, "test": 0, "train": 0}
    (place / "pictures" / "suspects.json").write_text(json.dumps(asked))
    (place / "pictures" / "lint.json").write_text("[]")
    assert "Is anything wrong with the data?" not in dict(account.answers(read(place)))
    assert account.doubted(read(place)) == "The model contradicts no label with confidence, of 1,040 pictures asked."


def test_which_pictures_are_wrong_is_said_by_name(make: Make) -> None:
    place = make("healthy")
    value = json.loads((place / "pictures" / "confusion.json").read_text()) | {"split": "test"}
    (place / "pictures" / "confusion.json").write_text(json.dumps(value))
    unsure = [{"source": "row 5", "guess": "3", "p": 0.41, "second": "9", "second p": 0.4, "truth": "3"}]
    (place / "pictures" / "unsure.json").write_text(json.dumps(unsure))
    text = dict(account.answers(read(place)))["Which pictures does it get wrong?"]
    assert text.startswith("5 of the 360 test pictures. The worst: `row 0`, a “8” taken for “1” (99%);")
    assert text.endswith("It is least sure of `row 5`: “3” (41%) or “9” (40%).")


def test_odd_files_of_doubts_do_no_harm(make: Make) -> None:
    place = make("healthy")
    for value in ({"asked": 3}, {"found": "x", "asked": {"test": "y"}}, {"asked": {"test": 3}, "found": {"test": None}}):
        (place / "pictures" / "suspects.json").write_text(json.dumps(value))
        assert isinstance(account.doubted(read(place)), str)


def test_a_detector_is_said_to_find_things_and_is_not_compared_with_guessing_classes(make: Make) -> None:
    run = read(make("healthy"))
    run = replace(run, settings=run.settings | {"task": "detect"}, summary={})
    answers = dict(account.answers(run))
    assert "guessing" not in answers["How good is it?"]
    assert "recognised" not in answers["How good is it?"]
    assert "confused" not in answers["What next?"]
    assert "Which pictures does it get wrong?" not in answers
    assert "was trained to find things of 10 classes on" in account.opening(run)
