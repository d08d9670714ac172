from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.report.chart import LEFT, WIDTH, Band, Chart, Mark, ceiling, draw, embedded
from gradlearn.report.series import Series, curve


def chart(**more: object) -> Chart:
    x = [float(i) for i in range(100)]
    return Chart("Loss", (curve("training", x, [2.0 / (1 + v) for v in x]),), (0.0, 99.0), **more)  # type: ignore[arg-type]


def test_every_point_lies_inside_the_plot() -> None:
    path = re.search(r'class="line ink0" d="M([^"]+)"', draw(chart()))
    assert path
    spots = [tuple(map(float, pair.split())) for pair in path[1].split("L")]
    assert len(spots) == 100
    assert all(LEFT <= x <= WIDTH and 0 <= y <= 260 for x, y in spots)
    assert [y for _, y in spots] == sorted(y for _, y in spots)  # the loss falls: pixels go down


def test_the_readout_shows_the_last_value_without_a_script() -> None:
    assert "<b>0.02</b>" in draw(chart())


def test_the_embedded_data_are_the_points() -> None:
    found = re.search(r'<script type="application/json">(.*?)</script>', draw(chart()))
    assert found
    data = json.loads(found[1])
    assert data["series"][0]["x"] == list(range(100))
    assert data["series"][0]["y"][1] == 1.0
    assert data["x"] == [0.0, 99.0, LEFT, WIDTH - 16]


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_embedded_json_says_the_same_and_cannot_end_its_script(value: object) -> None:
    text = embedded(value)
    assert not set(text) & set("<>&")
    assert json.loads(text) == value


def flags(html: str) -> list[tuple[float, float, str]]:
    found = re.findall(r'<rect x="([\d.]+)" y="2" width="([\d.]+)".*?<text[^>]*>([^<]+)</text>', html)
    return [(float(x), float(x) + float(w), text) for x, w, text in found]


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=150))
def test_flags_never_overlap_and_name_every_event(ts: list[int]) -> None:
    marks = tuple(Mark(t, i, "warn", "x") for i, t in enumerate(sorted(ts), 1))
    line = Series("a", (0.0, 1000.0), (1.0, 2.0))
    drawn = flags(draw(Chart("Loss", (line,), (0.0, 1000.0), marks=marks)))
    assert all(a[1] < b[0] for a, b in pairwise(drawn))
    assert drawn[0][0] >= LEFT - 1
    assert drawn[-1][1] <= WIDTH
    named = [int(n) for *_, text in drawn for n in text.split("–")]
    assert (named[0], named[-1]) == (1, len(ts))
    assert named == sorted(named)


def test_the_gravest_event_gives_a_flag_its_colour() -> None:
    html = draw(chart(marks=(Mark(50, 1, "info", "a"), Mark(50, 2, "alarm", "b"), Mark(50, 3, "warn", "c"))))
    assert re.findall(r'class="flag (\w+)"', html) == ["alarm"]
    assert re.findall(r'class="event (\w+)"', html) == ["alarm"]


def test_steps_that_were_not_finite_are_marked_and_counted() -> None:
    html = draw(chart(lost=(10.0, 50.0, 50.02)))
    assert html.count('class="lost"') == 2  # two pixels
    assert "not a finite number: 3" in html


def test_bands_and_the_best_point() -> None:
    html = draw(chart(bands=(Band(50, 99, "on the way <out>"),), best=(99.0, 0.02)))
    assert "on the way &lt;out&gt;" in html
    assert html.count('class="ring"') == 1


def test_a_chart_without_points_says_so() -> None:
    assert "Nothing on record" in draw(Chart("Loss", (Series("a", (), ()),), (0.0, 1.0)))


@pytest.mark.parametrize("y", [(0.0,), (0.0, 0.0), (-1.0, 1.0), (1e-12, 1e12), (5.0, 5.0), (1e150, 1e-300)])
def test_odd_values_can_be_drawn(y: tuple[float, ...]) -> None:
    line = Series("a", tuple(float(i) for i in range(len(y))), y, low=y, high=y)
    html = draw(Chart("x", (line,), (0.0, float(len(y) - 1))))
    assert "nan" not in html
    assert "inf" not in html.replace("info", "")


def test_one_slow_step_does_not_flatten_the_others() -> None:
    values = [10.0] * 500 + [5000.0]
    assert ceiling(values) == 20.0
    assert ceiling([1.0, 2.0, 3.0]) == 3.0
