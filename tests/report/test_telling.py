"""A sentence for each twin is true of its numbers: the name's promise where it was kept, something else where it was not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gradlearn.report.telling import final, first, noise, sentences, summary, watched
from twin_documents import document, fall, score, twin


def told(name: str, **other: Any) -> str:
    some = document()
    index = [t["name"] for t in some["twins"]].index(name)
    some["twins"][index] |= other
    return sentences(some)[name]


def test_the_start_is_the_first_loss_and_the_end_the_median_of_the_last():
    assert first(twin("x", [2.0, 9.0, 1.0, 0.0], [])) == 2.0
    assert first(twin("x", [], [])) is None
    assert final(twin("x", [5.0] * 97 + [1.0, 9.0, 1.1], [])) == 5.0
    assert final(twin("x", [1.0] * 5 + [math.nan], [])) == 1.0
    assert final(twin("x", [1.0], [], stop={"reason": "numerics"})) is None
    assert first(twin("x", [math.nan] * 3, [])) is None


@pytest.mark.parametrize(("name", "other", "words"), [
    ("chosen", {}, "This is what a good rate looks like: a steep fall first"),
    ("chosen", {"loss": fall(2.3, 2.4)}, "The plan's own rate did not learn here"),
    ("too high", {}, "the loss jumps about (up to 9 on the way) and ends at 2.6, no better than the 2.3 it began"),
    ("too high", {"loss": [2.3] * 3 + [0.9] * 57}, "losing time at the start, and ending at 0.9 where the chosen rate ends at 0.1"),
    ("too high", {"loss": fall(2.3, 0.05)}, "Here a rate 30 times as high did no harm to the training loss"),
    ("too high", {"loss": [2.3, 5.0, math.nan], "stop": {"reason": "numerics"}}, "until the loss is no number any more at step 2"),
    ("too low", {}, "far from done when the steps are over, from 2.3 to 2, where the chosen rate has reached 0.10"),
    ("too low", {"loss": fall(2.3, 0.05)}, "Here a rate 30 times lower did as well"),
    ("by heart", {}, "This is what overfitting looks like: on 40 examples"),
    ("by heart", {}, "lowest at step 30 (0.6) and then rises to 1.2, validation accuracy 78.0%. It has learned them"),
    ("by heart", {"scores": [score(60, 0.9, 0.5)]}, "while the validation loss stays at 0.5"),
    ("by heart", {"scores": [score(60, 1.0, 0.001)]}, "no overfitting here"),
    ("held back", {}, "the same examples, and validation accuracy 95.0% instead of 78.0%, validation loss 0.5"),
    ("held back", {"scores": [score(60, 0.8, 0.5)]}, "less sure of itself where it is wrong, validation loss 0.5 instead of 1.2"),
    ("held back", {"scores": [score(60, 0.8, 1.3)]}, "holding back changed little: validation accuracy 80.0%, and 78.0% without"),
    ("held back", {"scores": [score(60, 0.4, 1.3)]}, "Here holding back did harm in so few steps"),
    ("held back", {"held": {}}, "The plan has nothing on for this model that could hold it back"),
])  # fmt: skip
def test_a_sentence_is_true_of_the_numbers(name: str, other: dict[str, Any], words: str):
    assert words in told(name, **other)


def test_the_watch_is_quoted_less_its_remarks():
    said = [{"name": "noise floor", "level": "info", "t": 3}, {"name": "unstable", "level": "warn", "t": 4}]
    said += [{"name": "unstable", "level": "alarm", "t": 9}, {"name": "diverged", "level": "alarm", "t": 1200}]
    assert watched({"findings": said}) == "The watch called it “unstable” at step 4 and “diverged” at step 1,200."
    assert watched({"findings": said[:1]}) == "The watch raised no warning."


def test_what_few_examples_cannot_tell_is_noise():
    own, other = score(1, 0.9, 0.1), score(1, 0.8, 0.1)
    assert noise(own, other, 100) > 0.1 > noise(own, other, 1000) > noise(own, other, 10000) > 0.0
    loss = {"name": "mse", "value": 2.0}
    assert noise(loss, loss, 100) == pytest.approx(0.06)


def test_the_summary_names_all():
    text = summary(document())
    assert text.startswith(
        "One training, 60 steps of adamw, with three learning rates: too high (0.3) ended at a loss of 2.6, chosen"
    )
    assert text.endswith(
        "And on 40 examples only: free to learn them by heart, validation accuracy 78.0%; held back, validation accuracy 95.0%."
    )
