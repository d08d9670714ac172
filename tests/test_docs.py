"""What the documentation says is so: its code runs, its commands parse, its links lead somewhere, every public name is in it."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gradlearn
from gradlearn import arguments, cli, find

ROOT = Path(__file__).parent.parent
PACKAGE = Path(gradlearn.__file__).parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))
INLINE = re.compile(r"(?<!`)`(gradlearn [^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TREE = re.compile(r"^```tree\n(.*?)^```$", re.MULTILINE | re.DOTALL)
names = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def module(name: str) -> ModuleType:
    """A Python file of docs/."""
    spec = spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


sessions, figures, generated = module("sessions"), module("figures"), module("generated")


# ---- names


def test_every_public_name_has_a_docstring_and_a_place_in_the_reference():
    reference = (ROOT / "docs" / "reference.md").read_text()
    for name in gradlearn.__all__:
        if name == "__version__":
            continue
        thing = getattr(gradlearn, name)
        assert inspect.getdoc(thing), name
        assert f"::: {thing.__module__}.{name}" in reference or f"::: {thing.__module__}\n" in reference, name
    for argument in inspect.signature(gradlearn.fit).parameters:
        assert re.search(rf"^ +{argument}: ", inspect.getdoc(gradlearn.fit) or "", re.MULTILINE), f"fit: {argument}"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in find.KINDS for name in find.names(kind)])
def test_every_plugin_is_documented(kind: str, name: str):
    listing = find.describe(kind, name)
    assert len(listing.doc.splitlines()) >= 3, "a sentence, and when to use it"
    assert listing.summary.endswith(".") or ":" in listing.summary
    assert [option.name for option in listing.options if not option.help] == []
    page = generated.on_page_markdown((ROOT / "docs" / "plugins.md").read_text())
    assert f"\n### {name}\n\n{listing.doc}" in page


# ---- pages


@names
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.chdir(tmp_path)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    session = sessions.Session()
    try:
        blocks = sessions.blocks(page.read_text())
        for i, block in enumerate(blocks):
            if block.kind == "python":
                printed = session("python", block.body)
                shown = blocks[i + 1 : i + 2]
                assert bool(printed) == bool(shown and shown[0].printed and shown[0].body.strip()), f"prints {printed!r}"
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


def shown_commands(page: str) -> list[str]:
    """Every `gradlearn ...` of a page, in a console block or in a line."""
    found = [c for block in sessions.blocks(page) if block.kind == "console" for c in sessions.commands(block.body)]
    parts = [part.strip() for command in found for part in re.split(r"[|;&>]+", command)]
    parts = [re.sub(r"^timeout \S+ \S+ ", "", part) for part in parts]
    return [part for part in parts if part.startswith("gradlearn ")] + INLINE.findall(page)


@names
def test_commands_parse(page: Path):
    for command in shown_commands(page.read_text()):
        words = shlex.split(command)[1:]
        if words[0].startswith("-"):
            assert words[0] in ("--help", "--version"), command
            continue
        if words[-1] == "--help" or words == [words[0]]:
            assert words[0] in generated.subparsers(cli.parser()), command
            continue
        options, rest = cli.parser().parse_known_args(words)
        given = arguments.plugin_options(rest) if options.command == "train" else rest
        for name in given:
            plugin, _, option = name.partition(".")
            known = [o.name for kind in find.KINDS if plugin in find.names(kind) for o in find.describe(kind, plugin).options]
            assert option in known, command


@names
def test_options_shown_exist(page: Path):
    """`--adamw.weight_decay 0.1` in a line of text: the plug-in has that option."""
    text = page.read_text()
    for plugin, option in re.findall(r"`--([a-z_]+)\.([a-z_]+)[ `=]", text):
        if page.name == "extending.md" and plugin == "signum":
            continue
        kinds = [kind for kind in find.KINDS if plugin in find.names(kind)]
        assert kinds, f"--{plugin}.{option}"
        assert option in [o.name for kind in kinds for o in find.describe(kind, plugin).options], f"--{plugin}.{option}"


def anchors(page: Path) -> set[str]:
    """Of all headings, those that the site makes included."""
    text = re.sub(r"^```.*?^```$", "", generated.on_page_markdown(page.read_text()), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [title.lower().encode("ascii", "ignore").decode() for title in titles]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip()) for title in plain}


@names
def test_relative_links_lead_somewhere(page: Path):
    for link in LINK.findall(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_paths_of_the_readme_exist():
    tree = TREE.search((ROOT / "README.md").read_text())
    assert tree is not None
    folder, seen = ROOT, set()
    for line in tree[1].splitlines():
        inside = line.startswith(" ")
        words = re.split(r"\s{3,}", line.strip())[0].split()
        paths = [word for word in words if re.fullmatch(r"[\w/]+(/|\.py)", word)]
        assert paths, line
        for path in paths:
            where = (folder if inside else ROOT) / path
            assert where.exists(), path
            seen.add(where)
        if not inside:
            folder = ROOT / paths[0]
    own = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert own - seen <= {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}, "the tree leaves something out"


def test_readme_is_short_and_the_way_in():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 190
    for kind in ("batches", "objective", "gradient", "update", "rate", "average", "watch", "remedy"):
        assert f"(src/gradlearn/{kind})" in text


# ---- lines and numbers


def constants() -> str:
    """Every piece of text in the source, f-strings in their fixed parts."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\0".join(found)


def said(fixed: str, source: str) -> bool:
    """Whether the source has this text, whole or put together from two."""
    words = fixed.split(" ")
    halves = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    return fixed in source or any(one in source and other in source for one, other in halves)


def test_error_lines_are_those_of_the_program():
    text, source = "\n".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("errors", "detection")), constants()
    lines = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(lines) > 50
    for line in lines:
        for piece in re.split(r"…|: |; |, ", line):
            fixed = piece.strip(" '()%")
            assert len(fixed) < 4 or said(fixed, source), f"{line!r}: no {fixed!r} in the source"
    assert not said("give an existing picture novel", source)


def test_exit_codes_are_those_of_the_program():
    from gradlearn import errors

    text = (ROOT / "docs" / "errors.md").read_text()
    troubles = {
        v for v in vars(errors).values() if inspect.isclass(v) and issubclass(v, errors.Trouble) and v is not errors.Trouble
    }
    for trouble in troubles:
        assert re.search(rf"^\| {trouble.code} \|.*`{trouble.__name__}`", text, re.MULTILINE), trouble


def test_tables_are_what_the_results_say():
    found = figures.results()
    for page in figures.PAGES:
        text = page.read_text()
        assert figures.PLACE.search(text), page.name
        assert figures.filled(text, found) == text, f"{page.name}: run `make figures`"


RESULT: dict[str, Any] = {
    "name": "toy_claim",
    "claim": "a|b",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "Z80", "cores": 1, "memory_gib": 0.1},
    "versions": {"python": "3.11.0", "torch": "2.0", "peers": {"keras": "3"}},
    "bars": [
        {"bar": "a|b", "value": 0.98765, "limit": ">= 0.9", "met": True},
        {"bar": "time", "value": 61, "limit": "<= 60", "met": False},
    ],
    "rows": [{"seed": 0, "test": 0.5}, {"seed": 1, "test": None}],
}


def test_a_table_shows_each_bar_met_or_missed():
    text = figures.bars([RESULT])
    assert "| a\\|b | a\\|b: 0.9877 (>= 0.9); time: 61 (<= 60, **missed**) | `bench-toy_claim` |" in text
    page = "x\n<!-- figures: details -->\nold\n<!-- end -->\ny\n"
    new = figures.filled(page, [RESULT])
    assert "old" not in new
    assert all(part in new for part in ("## toy claim", "Z80, 1 cores", "torch 2.0", "Peers: keras 3", "2026-01-02", "| 1 |  |"))
    assert figures.filled(new, [RESULT]) == new


def test_quick_results_are_no_results(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(RESULT))
    (tmp_path / "b.json").write_text(json.dumps(RESULT | {"quick": True}))
    assert len(figures.results(tmp_path)) == 1
    assert "No result" in figures.bars([])
    assert "No result" in figures.details([])


# ---- playing and building


def test_a_session_replaces_outputs_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    page = "a\n```console\n$ echo one \\\n  two\nold\n$ echo > f\n```\n"
    page += "```python\nprint(6 * 7)\n```\n\n```text\nold\n```\nb\n```text\nkept\n```\n"
    new = page.replace("\nold\n$", "\none two\n$").replace("```text\nold", "```text\n42")
    assert sessions.played(page, sessions.Session()) == new
    assert sessions.wrapped("{" + "x " * 100) == ["{" + "x " * 100]
    assert all(len(line) <= sessions.WIDTH for line in sessions.wrapped("word " * 100))


def test_the_update_of_extending_works_as_a_plugin(tmp_path: Path):
    """Its block saved as the file it says it is, in a copy of the package: listed, and trained with."""
    page = (ROOT / "docs" / "extending.md").read_text()
    code = next(block.body for block in sessions.blocks(page) if block.kind == "python")
    copy = tmp_path / "gradlearn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "update" / "signum.py").write_text(code)

    def command(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "gradlearn", *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    listed = next(p for p in command("list", "update", "--json")["plugins"] if p["name"] == "signum")
    assert listed["options"]["weight_decay"] == 0.25
    trained = command(
        "train", "images", "--steps", "40", "--update", "signum", "--lr", "0.002", "--signum.weight_decay", "0.1", "--json"
    )
    assert trained["score"]["test"] > 0.5


def test_the_site_is_built_strictly_and_loads_nothing_from_anywhere(tmp_path: Path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted(tmp_path.glob("*.html"))
    assert {page.stem for page in pages} >= {page.stem for page in (ROOT / "docs").glob("*.md")}
    loads = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    for page in pages:
        assert loads.findall(page.read_text()) == [], page.name
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet.name
    assert "gradlearn train [-h]" in (tmp_path / "cli.html").read_text()
    assert 'id="adamw"' in (tmp_path / "plugins.html").read_text()
