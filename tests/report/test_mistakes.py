from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from gradlearn.report import mistakes

from .conftest import png

Make = Callable[..., Path]


def test_a_picture_is_inlined_byte_for_byte(make: Make) -> None:
    place = make("healthy") / "pictures"
    uri = mistakes.picture(place, "mistake-00.png")
    assert uri is not None
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == (place / "mistake-00.png").read_bytes()


@pytest.mark.parametrize("name", ["../run.toml", "/etc/passwd", "", ".", "..", "a\0b", None, 3, "missing.png", "confusion.json"])
def test_nothing_but_a_png_of_the_folder_is_inlined(make: Make, name: object) -> None:
    assert mistakes.picture(make("healthy") / "pictures", name) is None


def test_links_and_huge_files_are_left_out(make: Make) -> None:
    place = make("healthy") / "pictures"
    (place / "link.png").symlink_to(place / "mistake-00.png")
    (place / "huge.png").write_bytes(mistakes.PNG + bytes(mistakes.LARGEST))
    assert mistakes.picture(place, "link.png") is None
    assert mistakes.picture(place, "huge.png") is None


def test_a_row_says_truth_guess_and_probability(make: Make) -> None:
    html = mistakes.gallery(make("healthy") / "pictures", [{"file": "mistake-00.png", "truth": "<cat>", "guess": "dog", "p": 0.98}])
    assert "&lt;cat&gt;" in html
    assert '<span class="guess">dog</span> (98%)' in html
    assert html.count("<img") == 1


def test_rows_without_a_picture_or_with_odd_values_are_shown_without(tmp_path: Path) -> None:
    html = mistakes.gallery(tmp_path, [{}, {"truth": 3, "guess": None, "p": "x", "file": []}])
    assert html.count("<figure>") == 2
    assert "<img" not in html


def test_only_so_many_are_shown(tmp_path: Path) -> None:
    html = mistakes.gallery(tmp_path, [{"truth": "a", "guess": "b"}] * (mistakes.MOST + 3))
    assert html.count("<figure>") == mistakes.MOST
    assert "3 more mistakes on record are not shown" in html


def test_small_pictures_are_crisp_and_large_ones_smooth(tmp_path: Path) -> None:
    for side, smooth in ((8, False), (64, False), (65, True)):
        (tmp_path / "x.png").write_bytes(png(side, 9, lambda x, y: 0))
        assert mistakes.size((tmp_path / "x.png").read_bytes()) == (side, 9)
        assert ('class="smooth"' in mistakes.image(tmp_path, "x.png", "a")) is smooth
    (tmp_path / "x.png").write_bytes(mistakes.PNG)
    assert "<img alt=" in mistakes.image(tmp_path, "x.png", "a")


def test_captions_say_what_they_are_about() -> None:
    row = {"truth": "<3>", "guess": "5", "p": 0.6, "second": "<3>", "second p": 0.3, "own p": 0.3, "like": "5", "split": "train"}
    assert "wrong: is" in mistakes.doubt(row)
    assert "right" in mistakes.doubt(row | {"truth": "5"})
    assert 'is <span class="truth">&lt;3&gt;</span> (30%)' in mistakes.mistake(row)
    assert 'looks like <span class="guess">5</span> (60%)' in mistakes.suspect(row)
    for caption in (mistakes.doubt, mistakes.mistake, mistakes.suspect):
        assert "<3>" not in caption(row)
        assert caption({})


def test_pictures_of_the_check_stand_side_by_side(make: Make) -> None:
    rows = [
        {"what": "<b>copies", "examples": ["a = b", 3], "shown": [["mistake-00.png", "mistake-01.png"], ["mistake-02.png"], 7, []]},
        {"what": "none", "examples": ["c"]},
        {"what": "odd", "shown": "x"},
    ]
    html = mistakes.linted(make("healthy") / "pictures", rows)
    assert html.count("<img") == 3
    assert html.count('class="side"') == 1
    assert "&lt;b&gt;copies" in html
    assert "none" not in html
