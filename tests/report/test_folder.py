from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlearn.errors import InputTrouble
from gradlearn.report import folder

Make = Callable[..., Path]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def test_a_whole_run_is_read_without_a_note(make: Make) -> None:
    run = folder.read(make("healthy"))
    assert run.notes == []
    assert run.name == "run"
    assert run.steps["t"] == list(range(1200))
    assert len({len(column) for column in run.steps.values()}) == 1
    assert run.scores[-1]["split"] == "test"
    assert run.checkpoints == ["step-000000001200"]
    assert run.stop == {"reason": "done", "message": "all steps done"}
    assert run.lint is not None
    assert len(run.mistakes) == 5


def test_a_torn_last_line_is_left_out_and_said(make: Make) -> None:
    run = folder.read(make("killed"))
    assert len(run.steps["t"]) == 512
    assert any("last line of steps.jsonl is torn" in note for note in run.notes)
    assert run.stop is None


def test_a_stop_in_the_log_is_an_end_on_record(make: Make) -> None:
    place = make("killed")
    (place / "actions.jsonl").write_text('{"t":511,"name":"stop","why":"step 511: loss is NaN"}\n')
    assert folder.read(place).stop == {"reason": "numerics", "message": "loss is NaN"}


def test_damage_in_the_middle_costs_only_its_line(make: Make) -> None:
    place = make("healthy")
    lines = (place / "steps.jsonl").read_bytes().split(b"\n")
    lines[100] = lines[100][:20] + b"\xff\x00"
    (place / "steps.jsonl").write_bytes(b"\n".join(lines))
    run = folder.read(place)
    assert len(run.steps["t"]) == 1199
    assert run.notes == ["1 line of steps.jsonl could not be read and was left out."]


@pytest.mark.parametrize("content", [b"", b"{", b"[1,2]", b"\xff\xfe", b'{"a":1}' * 2, b"[" * 100_000])
@pytest.mark.parametrize(
    "name", ["run.toml", "summary.json", "pictures/confusion.json", "pictures/mistakes.json", "pictures/lint.json"]
)
def test_a_damaged_file_becomes_a_note(make: Make, name: str, content: bytes) -> None:
    place = make("healthy")
    (place / name).write_bytes(content)
    run = folder.read(place)
    if content != b"[1,2]" or name not in ("pictures/mistakes.json", "pictures/lint.json"):
        assert run.notes
        assert not any(str(place) in note for note in run.notes)


def test_a_link_is_not_followed(make: Make, tmp_path: Path) -> None:
    place = make("healthy")
    (tmp_path / "other.json").write_text("{}")
    (place / "summary.json").unlink()
    (place / "summary.json").symlink_to(tmp_path / "other.json")
    assert folder.read(place).summary == {}


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputTrouble) as caught:
            folder.read(place)
        assert "\n" not in str(caught.value)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(JSON, max_size=5))
def test_any_rows_become_clean_rows(rows: list[object]) -> None:
    for row in folder.clean_scores(rows):
        assert isinstance(row["t"], int)
        assert row["value"] is None or isinstance(row["value"], float)
    for row in folder.events(rows):
        assert all(isinstance(row[k], str) for k in ("name", "what", "why", "dial"))
    table = folder.columns([row for row in rows if isinstance(row, dict)])
    assert len({len(column) for column in table.values()}) == 1


def test_the_step_is_not_said_twice() -> None:
    row = {"t": 7, "name": "diverged", "what": "step 7: the loss is 9", "why": "step 8: x"}
    assert folder.events([row])[0] | {"evidence": 0} == folder.events([row | {"what": "the loss is 9"}])[0] | {"evidence": 0}


def test_non_finite_losses_are_holes_not_rows_lost(make: Make) -> None:
    run = folder.read(make("diverged"))
    assert [t for t, v in zip(run.steps["t"], run.steps["loss"], strict=True) if v is None] == [414, 415, 416]
    assert json.dumps(run.steps["applied"][413:418]) == "[true, false, false, false, true]"
