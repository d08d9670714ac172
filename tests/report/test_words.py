from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.3061, "2.31"),
        (0.021349, "0.0213"),
        (1234.5, "1,234"),
        (1.2e-05, "1.2e-5"),
        (0.004, "0.004"),
        (0, "0"),
        (999999, "999,999"),
        (9.999, "10"),
        (-0.5, "-0.5"),
        (4000000000000.0, "4e12"),
        (None, "–"),
        (math.nan, "–"),
        (99.95, "100"),
    ],
)
def test_a_number_has_three_digits_and_no_idle_zero(value: float | None, text: str) -> None:
    assert words.number(value) == text


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300))
def test_a_number_read_back_is_within_its_last_digit(value: float) -> None:
    assert float(words.number(value, 4).replace(",", "")) == pytest.approx(value, rel=0.51e-3, abs=0.5 if abs(value) > 1e3 else 0)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.floats(0, 1))
def test_only_all_is_100_per_cent_and_only_none_is_0(share: float) -> None:
    text = words.percent(share)
    assert (text == "100%") == (share == 1.0)
    assert (text == "0%") == (share == 0.0)
    assert abs(float(text[:-1]) / 100 - share) <= 0.000501


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12.3 ms"),
        (6.51, "6.5 s"),
        (38.2, "38 s"),
        (119.6, "2 min"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
        (3600 * 30, "30 h"),
        (None, "–"),
    ],
)
def test_a_duration_reads_as_a_person_says_it(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_lists_and_plurals() -> None:
    assert [words.listing("abcd"[:k]) for k in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert words.listing(map(str, range(9)), most=4) == "0, 1, 2 and 6 more"
    assert [words.plural(n, "class", "classes") for n in (0, 1, 2000)] == ["0 classes", "1 class", "2,000 classes"]


@pytest.mark.parametrize("value", [True, None, "1", math.inf, -math.inf, math.nan, [1]])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert words.finite(value) is None


def test_a_finite_number_is_kept() -> None:
    assert [words.finite(v) for v in (0, -3, 1.5)] == [0, -3, 1.5]
    assert [words.finite(v) for v in (1e200, -(10**400))] == [words.LARGEST, -words.LARGEST]


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.text())
def test_safe_text_has_no_markup_and_no_control_character(text: str) -> None:
    made = words.safe(text)
    assert not set(made) & set("<>\"'")
    assert made.isprintable()


def test_ticks_of_a_log_axis() -> None:
    assert [words.power(v) for v in (0.001, 0.02, 5.0, 1000.0, 5e-5, 1e-7, 1e9)] == [
        "0.001", "0.02", "5", "1,000", "5×10⁻⁵", "10⁻⁷", "10⁹",
    ]  # fmt: skip


def test_points_never_say_zero_of_a_difference() -> None:
    assert [words.points(g) for g in (0.0121, 0.01, -0.039, 0.0001, 0)] == [
        "1.2 points", "1.0 point", "3.9 points", "0.01 points", "0.0 points",
    ]  # fmt: skip


def test_scores_by_name() -> None:
    assert words.score("accuracy", 0.986) == "98.6%"
    assert words.score("loss", 0.986) == "0.986"
    assert words.score("accuracy", 1.7) == "1.7"
    assert words.score("accuracy", None) == "–"
