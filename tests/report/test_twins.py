"""The page of the twins: one file that loads nothing, every twin with its sentence and findings, sound whatever came of them."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gradlearn.errors import ResourceTrouble
from gradlearn.report.telling import sentences
from gradlearn.report.twins import render, write
from twin_documents import document


class Texts(HTMLParser):
    """What the page shows and loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {k}={v}" for k, v in attrs if k in ("src", "href", "style") or k.startswith("on")]
        if tag not in ("meta", "br", "rect", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path", "circle"):
            assert self.open.pop() == tag, tag


def test_the_page_stands_alone_and_is_well_formed():
    page = render(document())
    seen = Texts(page)
    assert seen.loads == []
    assert seen.open == []
    assert "default-src 'none'" in page
    assert len(re.findall(r"sha256-", page)) == 2


def test_each_twin_has_its_panel_its_sentence_and_its_findings_once():
    page = render(document())
    said = sentences(document())
    assert page.count('<div class="twin">') == 5
    for name, text in said.items():
        assert f"</i>{name}</h3>" in page
        assert text.split(":")[0] in page
    assert page.count('<span class="pill alarm">diverged</span>') == 1
    assert "(and 1 more)" in page
    assert "&lt;b&gt;after&lt;/b&gt;" in page
    assert "<b>after</b>" not in page


def test_three_without_validation_data():
    some = document()
    some["twins"] = [t | {"scores": [], "fit": None} for t in some["twins"][:3]]
    page = render(some)
    assert page.count('<div class="twin">') == 3
    assert "Learning by heart" not in page
    assert "three ways" in page


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_a_run_that_left_the_finite_numbers_is_drawn_and_told(bad: float):
    some = document()
    some["twins"][1] |= {"loss": [2.3, 50.0, bad], "fit": None, "stop": {"reason": "numerics", "message": "non-finite"}}
    page = render(some)
    assert not re.search(
        r"[^a-z]nan|[^a-z]inf[^a-z]", page.partition("</style>")[2].partition("<script>const")[0].lower().replace("page.js", "")
    )
    assert "far too high looks like" in page
    assert write(some, Path("/dev/null").parent / "nowhere" / "x") if False else True


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    assert write(document(), tmp_path / "a.html").is_file()
    with pytest.raises(ResourceTrouble):
        write(document(), tmp_path / "nowhere" / "a.html")
