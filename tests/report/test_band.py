"""The band in words and as a picture: says where the rate lies, draws what was tried, and is one sound SVG whatever the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gradlearn.errors import ResourceTrouble
from gradlearn.report.band import lines, sentences, svg, write, zone

SVG = "{http://www.w3.org/2000/svg}"
BAND: dict[str, Any] = {
    "chosen": 0.01,
    "verdict": "good",
    "start": 2.3,
    "bound": None,
    "steps": 30,
    "update": "adamw",
    "warm": True,
    "edge": 0.3,
    "low": 0.001,
    "best": 0.1,
    "tried": [0.25, 0.36],
    "trials": [
        {"rate": 0.0005, "loss": 2.28},
        {"rate": 0.01, "loss": 0.9},
        {"rate": 0.1, "loss": 0.5},
        {"rate": 0.36, "loss": 2.9},
        {"rate": 1.0, "loss": None},
    ],
    "seconds": 1.0,
}


def band(**other: Any) -> dict[str, Any]:
    return BAND | other


@pytest.mark.parametrize(("other", "words"), [
    ({}, ["From about 0.3 on 30 steps with adamw end above", "is good: a factor of 30 below the edge and 10 times the lower end"]),
    ({"chosen": 0.6, "verdict": "too high"}, ["0.6, is too high: 2 times the edge", "begins with a warm-up"]),
    ({"chosen": 0.6, "verdict": "too high", "warm": False}, ["give a lower --lr. So few"]),
    ({"chosen": 1e-5, "verdict": "too low"}, ["1e-5, is too low: 100 times less than where learning begins; give a higher --lr"]),
    ({"edge": None}, ["No rate up to 1 lost what it had in 30 steps", "is good: 10 times the lower end"]),
    ({"low": 0.0}, ["No rate tried was too low", "is good: a factor of 30 below the edge."]),
    ({"bound": 0.3}, ["From 0.3 on a step overshoots: 2 / largest curvature"]),
    ({"bound": 0.1, "edge": 0.1}, ["The loss itself still ends below its start up to 0.25"]),
    ({"verdict": "unknown", "best": None}, ["No rate from 0.0005 to 1 brought the loss down in 30 steps from 2.3"]),
])  # fmt: skip
def test_sentences_say_where_the_rate_lies(other: dict[str, Any], words: list[str]):
    said = sentences(band(**other))
    for part in words:
        assert part in said, said
    assert ("warm-up" in said) == (other.get("verdict") == "too high" and other.get("warm", True))


def test_the_drawing_has_a_row_for_each_rate_and_the_longest_bar_for_the_best():
    rows = lines(band())[1:]
    assert len(rows) == len(BAND["trials"])
    assert [zone(BAND, t["rate"]) for t in BAND["trials"]] == ["too low", "good", "good", "too high", "too high"]
    assert "too low" in rows[0]
    assert "good" in rows[1]
    assert "good" not in rows[2]
    assert "too high" in rows[3]
    assert [row.count("#") for row in rows] == [0, 26, 34, 0, 0]
    assert rows[1].endswith("<- this run")
    assert rows[2].endswith("(best of these)")
    assert "lost" in rows[4]


@pytest.mark.parametrize("other", [
    {}, {"edge": None}, {"low": 0.0}, {"verdict": "unknown", "best": None, "edge": 0.0005},
    {"trials": [{"rate": 0.01, "loss": 0.9}]}, {"trials": [{"rate": 0.01, "loss": None}], "edge": 0.01},
    {"start": -3.0, "trials": [{"rate": 0.01, "loss": -3.5}, {"rate": 0.1, "loss": -2.0}]},
    {"start": 1e-30}, {"update": "<script>&"},
])  # fmt: skip
def test_the_picture_is_sound_whatever_the_numbers(other: dict[str, Any]):
    text = svg(band(**other))
    root = ElementTree.fromstring(text)
    assert "<script>" not in text
    assert "nan" not in text
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for dot in root.iter(f"{SVG}circle"):
        assert 0 <= float(dot.get("cx", -1)) <= width
        assert 0 <= float(dot.get("cy", -1)) <= height


def test_the_picture_shows_zones_dots_crosses_and_the_run():
    root = ElementTree.fromstring(svg(band()))
    zones = {
        z.get("class"): (float(z.get("x", 0)), float(z.get("width", 0)))
        for z in root.iter(f"{SVG}rect")
        if "zone" in z.get("class", "")
    }
    assert set(zones) == {"zone slow", "zone good", "zone high"}
    assert zones["zone slow"][0] < zones["zone good"][0] < zones["zone high"][0]
    assert zones["zone slow"][0] + zones["zone slow"][1] == pytest.approx(zones["zone good"][0], abs=0.2)
    dots = [float(c.get("cx", 0)) for c in root.iter(f"{SVG}circle")]
    assert len(dots) == 4
    inside = [zones["zone good"][0] < x < zones["zone high"][0] for x in dots]
    assert inside == [False, True, True, False]
    assert sum(p.get("class") == "lost" for p in root.iter(f"{SVG}path")) == 1
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert "this run: 0.01" in texts
    assert "good" in texts


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    assert write(band(), tmp_path / "a.svg").read_text() == svg(band())
    with pytest.raises(ResourceTrouble):
        write(band(), tmp_path / "nowhere" / "a.svg")
