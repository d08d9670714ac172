from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import shutil
import zlib
from dataclasses import asdict

import pytest
import torch

from gradlearn.errors import CheckpointTrouble, NumericsTrouble, ResourceTrouble
from gradlearn.record import checkpoint, disk, log
from gradlearn.record.record import LOGS, Record
from gradlearn.symbols import Action, Finding, Score, Step

from .faults import Disk, states

T, SAVE = 12, 4


def row(t, loss=0.5):
    return Step(t, loss, 1.5, 3e-3, 32, (t + 1) / 7, True, 0.25)


class Life:
    """A run in miniature: a number that depends on every step before it, and an action that a clock decides once."""

    def __init__(self, folder, clock=None, **options):
        self.folder, self.clock, self.options = folder, clock, options
        self.saved = 0
        self.x, self.turned = torch.zeros(4, dtype=torch.float64), 0.0

    def run(self, record, t=0, lost=()):
        replay = {r["t"]: r for r in lost if r["by"] == "clock"}
        while t < T:
            self.x = self.x * 0.9 + torch.arange(4) + t + self.turned
            record.step(row(t, float(self.x.sum())))
            if t in replay or (t == self.clock and not self.turned):
                self.turned = replay[t]["after"] if t in replay else 0.125
                record.action(Action(t, "finish", "the time is up", "finish", 0.0, self.turned, "clock"))
            if t % 3 == 2:
                record.score(t + 1, "valid", Score("accuracy", True, t / T, {"accuracy": t / T, "loss": 1.0}), 0.5)
                record.finding(Finding(t, "plateau", "info", f"step {t}", "", "", {"x": [t]}))
            t += 1
            if t % SAVE == 0 and record.checkpoint(t, {"model": {"x": self.x}}, {"t": t, "turned": self.turned}):
                self.saved = t
        record.close()

    def begin(self):
        self.run(Record(self.folder, **self.options))

    def go_on(self):
        record, loaded, rows, lost = Record.resume(self.folder, **self.options)
        t = 0
        if loaded:
            t, self.x, self.turned = loaded.t, loaded.parts["model"]["x"], loaded.state["turned"]
        assert t >= self.saved
        assert [r["t"] for r in rows["steps"]] == list(range(t))
        self.run(record, t, lost)
        return t

    def result(self):
        logs = {name: (self.folder / f"{name}.jsonl").read_bytes() for name in LOGS}
        last = checkpoint.newest(self.folder)
        return logs, last.t, last.parts["model"]["x"].tolist(), last.state


@pytest.fixture
def unbroken(tmp_path, faulty):
    def make(clock=None):
        folder = tmp_path / f"unbroken{clock}"
        folder.mkdir()
        life = Life(folder, clock)
        life.begin()
        return life.result()

    return make


# ---- rows


def test_what_a_loop_says_is_what_the_log_says(tmp_path):
    finding = Finding(4, "plateau", "warn", "what", "why", "remedy", {"x": [1, float("nan")]})
    action = Action(4, "turn", "why", "rate", 1.0, 0.5)
    score = Score("accuracy", True, 0.75, {"accuracy": 0.75, "loss": float("inf")})
    with Record(tmp_path) as record:
        record.step(row(3))
        record.score(4, "valid", score, 0.5)
        record.finding(finding)
        record.action(action)
    assert log.read(tmp_path / "steps.jsonl")[0]["t"] == 3
    assert log.read(tmp_path / "scores.jsonl") == [
        {
            "t": 4,
            "split": "valid",
            "name": "accuracy",
            "higher": True,
            "value": 0.75,
            "all": {"accuracy": 0.75, "loss": None},
            "seconds": 0.5,
        }
    ]
    assert log.read(tmp_path / "findings.jsonl") == [asdict(finding) | {"evidence": {"x": [1, None]}}]
    assert log.read(tmp_path / "actions.jsonl") == [asdict(action)]
    assert sorted(os.listdir(tmp_path)) == sorted(f"{name}.jsonl" for name in LOGS)


def test_t_never_goes_back(tmp_path):
    with Record(tmp_path) as record:
        record.step(row(5))
        for t in (5, 4):
            with pytest.raises(ValueError, match=rf"step {t} after step 5: t never goes back"):
                record.step(row(t))
    with pytest.raises(CheckpointTrouble, match="has a run already; resume it with: gradlearn resume"):
        Record(tmp_path)


def test_steps_are_written_about_once_a_second(tmp_path, faulty):
    with Record(tmp_path) as record:
        tool = faulty()
        for t in range(2000):
            record.step(row(t)._replace(seconds=1e-3))
        assert tool.calls.count("write") == 4  # every 500 rows
        for t in range(2000, 2040):
            record.step(row(t)._replace(seconds=0.25))
        assert tool.calls.count("write") == 14  # every 4 slow steps
    assert len(log.read(tmp_path / "steps.jsonl")) == 2040


def test_json_files_are_replaced_whole(tmp_path, faulty):
    record = Record(tmp_path)
    record.write_json("summary.json", {"score": float("nan"), "run": "é"})
    record.write_json("pictures/confusion.json", {"matrix": torch.eye(2, dtype=torch.int64)})
    record.close()
    record.write_json("summary.json", {"score": 1.0})  # also after the end
    assert json.loads((tmp_path / "summary.json").read_text()) == {"score": 1.0}
    assert json.loads((tmp_path / "pictures/confusion.json").read_text()) == {"matrix": [[1, 0], [0, 1]]}
    for name in ("../x.json", "/x.json", "run.toml", "pictures/../x.json", "x\n.json", "model/card.json"):
        with pytest.raises(ValueError, match="only NAME"):
            record.write_json(name, {})
    faulty(2, errno.ENOSPC, forever=True)
    with pytest.raises(ResourceTrouble, match=r"summary\.json: write failed: No space left on device; free space"):
        record.write_json("summary.json", {"score": 2.0})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"score": 1.0}


# ---- checkpoints


def test_a_checkpoint_knows_its_places_in_the_logs(tmp_path):
    record = Record(tmp_path)
    record.step(row(0))
    assert record.checkpoint(1, {}, {"a": 1})
    assert record.saved == 1
    record.step(row(1))
    record.close()
    state = checkpoint.newest(tmp_path).state
    assert state["log"]["steps"] == len((tmp_path / "steps.jsonl").read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(ValueError, match="'log' is written by us"):
        record.checkpoint(2, {}, {"log": 1})


def test_the_third_failure_in_a_row_ends_the_run(tmp_path, state, faulty):
    told = []
    record = Record(tmp_path, warn=told.append)
    assert record.checkpoint(1, *state(1))
    for t in (2, 3):
        record.step(row(t))
        faulty(1, errno.ENOSPC, forever=True)
        assert not record.checkpoint(t, *state(t))
    faulty()
    assert record.checkpoint(4, *state(4))  # a success forgives
    for t in (5, 6):
        monkey = faulty(5, errno.EIO, forever=True)
        assert not record.checkpoint(t, *state(t))
        assert monkey.count >= 5
    with pytest.raises(ResourceTrouble) as caught:
        record.checkpoint(7, *state(7))
    assert caught.value.code == 5
    assert re.fullmatch(
        rf"{tmp_path}: write failed: Input/output error \(checkpoint, last good step 4\); check the disk; "
        rf"3 saves in a row failed, go on with: gradlearn resume {tmp_path}",
        str(caught.value),
    )
    faulty()
    record.close()
    assert told == record.warnings
    assert len(told) == 4
    assert all(re.search(r"step \d not saved, the run goes on \(failure [12], 3 in a row end it\)$", line) for line in told)
    assert checkpoint.newest(tmp_path).t == 4


def test_a_state_that_is_not_finite_is_not_a_disk_failure(tmp_path):
    with Record(tmp_path) as record:
        with pytest.raises(NumericsTrouble):
            record.checkpoint(1, {"model": {"w": torch.tensor([torch.nan])}}, {})
        assert record.checkpoint(1, {"model": {"w": torch.tensor([torch.inf])}}, {})
        record.infinite = frozenset()
        with pytest.raises(NumericsTrouble):
            record.checkpoint(2, {"model": {"w": torch.tensor([torch.inf])}}, {})


def test_a_full_disk_does_not_stop_the_run_and_loses_no_row(tmp_path, faulty):
    record = Record(tmp_path)
    for t in range(100):
        faulty(1 if 20 <= t < 80 else 0, errno.ENOSPC, forever=True)
        record.step(row(t)._replace(seconds=2.0))
    faulty()
    record.close()
    assert [r["t"] for r in log.read(tmp_path / "steps.jsonl")] == list(range(100))
    assert record.warnings == [
        f"{tmp_path}/steps.jsonl: write failed: No space left on device; free space; rows wait in memory, the run goes on"
    ]


def test_the_last_rows_have_a_place_on_a_full_disk(tmp_path):
    record = Record(tmp_path)
    assert (tmp_path / ".reserve").stat().st_blocks * 512 >= 1 << 20
    record.close()
    assert not (tmp_path / ".reserve").exists()


def test_rows_that_are_lost_are_said(tmp_path, faulty):
    record = Record(tmp_path)
    record.step(row(0))
    faulty(1, errno.ENOSPC, forever=True)
    with pytest.raises(ResourceTrouble, match=r"steps\.jsonl: write failed: No space left on device; free space"):
        record.close()
    record.close()


# ---- coming back


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, unbroken):
    life = Life(tmp_path)
    record = Record(tmp_path)
    for t in range(3):
        record.step(row(t))
    record.flush()
    again = Life(tmp_path)
    assert again.go_on() == 0
    assert again.result() == unbroken()
    assert len(log.read(tmp_path / "steps.lost-0.jsonl")) == 3
    del life


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    for name in (".tmp-summary.json-4711-0123abcd", ".tmp-model-4711-0123abcd/weights.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    Life(tmp_path).go_on()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_finished_run_comes_back_at_its_end(tmp_path, faulty):
    life = Life(tmp_path)
    life.begin()
    before = life.result()
    again = Life(tmp_path)
    assert again.go_on() == T
    assert again.result() == before


@pytest.mark.parametrize("clock", [None, 6])
def test_no_row_is_lost_or_doubled_by_a_kill_anywhere(tmp_path, faulty, crash, unbroken, clock):
    """Ended before the k-th changing call; gone on with by a process without a clock; the logs are those of the unbroken run.

    The clock's action is replayed where it was logged before the end, so a run without it is equal only if it was not.
    """
    with_action, without = unbroken(6), unbroken(None)
    tool = faulty()
    (tmp_path / "count").mkdir()
    Life(tmp_path / "count", clock).begin()
    total = tool.count
    assert total > 100
    for k in range(1, total + 1, 2):
        folder = tmp_path / f"{k}"
        folder.mkdir()
        faulty(k, "crash")
        life = Life(folder, clock)
        with pytest.raises(crash):
            life.begin()
        acted = b'"clock"' in b"".join(p.read_bytes() for p in folder.glob("actions.jsonl"))
        for second in (k % 40 + 1, 0):  # killed once more soon after coming back, then not
            faulty(second, "crash")
            again = Life(folder)
            again.saved = life.saved
            try:
                again.go_on()
            except crash:
                assert second
        faulty()
        assert again.result() == (with_action if acted else without), k
        shutil.rmtree(folder)


def test_a_damaged_checkpoint_is_a_warning_and_the_one_before_goes_on(tmp_path, faulty, unbroken):
    life = Life(tmp_path)
    life.begin()
    victim = tmp_path / f"checkpoints/step-{T:012d}"
    data = (victim / "model.safetensors").read_bytes()
    (victim / "model.safetensors").write_bytes(data[:-1] + b"\1")
    told = []
    again = Life(tmp_path, warn=told.append)
    assert again.go_on() == T - SAVE
    assert told == [f"{victim}: model.safetensors hash differs (damaged); using step-{T - SAVE:012d}"]
    assert again.result() == unbroken()
    assert [r["t"] for r in log.read(tmp_path / f"steps.lost-{T - SAVE}.jsonl")] == list(range(T - SAVE, T))


def test_a_state_without_places_in_the_logs_is_refused(tmp_path, state):
    checkpoint.save(tmp_path, 1, *state(1))
    with pytest.raises(CheckpointTrouble, match="checkpoint of step 1 has no places in the logs; start anew"):
        Record.resume(tmp_path)


def test_steps_out_of_order_are_damage(tmp_path):
    record = Record(tmp_path)
    record.step(row(3))
    record.step(row(4))
    record.checkpoint(5, {}, {})
    record.close()
    path = tmp_path / "steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"t":4', b'"t":3'))
    with pytest.raises(CheckpointTrouble, match=r"steps\.jsonl: t does not increase after step 3; restore a copy"):
        Record.resume(tmp_path)


# ---- the power fails


def test_the_power_may_fail_at_any_instant(tmp_path, journal, monkeypatch):
    """Every prefix of what a run does to the disk, with unsynced operations dropped: what was reported saved is there."""
    folder, root = tmp_path / "run", tmp_path.stat().st_ino
    disk.make_folder(folder)
    record = Record(folder, keep=1)
    journal.mark(0)
    for t in range(1, 4):
        record.step(row(t - 1))
        record.action(Action(t, "turn", "why"))
        assert record.checkpoint(t, {"model": {"w": torch.full((8,), float(t))}}, {"t": t})
        journal.mark(t)
    record.checkpoint(3, {"model": {"w": torch.full((8,), 3.0)}}, {"t": 3, "again": True})
    record.close()
    monkeypatch.setattr(disk, "os", os)
    monkeypatch.setattr(disk.os, "fsync", lambda fd: None)
    chance, seen, place = random.Random(0), set(), itertools.count()
    begun = next(i for i, op in enumerate(journal.ops) if op == ("mark", 0))
    for end in range(begun + 1, len(journal.ops) + 1):
        ops = journal.ops[:end]
        least = max(op[1] for op in ops if op[0] == "mark")
        for state in states(ops, chance):
            key = zlib.crc32(repr([op for op in state if op[0] not in ("sync", "sync folder")]).encode())
            if (key, least) in seen:
                continue
            seen.add((key, least))
            home = tmp_path / f"state{next(place)}"
            Disk(state, root).copy_to(home)
            again, loaded, rows, _ = Record.resume(home / "run")
            again.close()
            t = loaded.t if loaded else 0
            assert t >= least
            assert [r["t"] for r in rows["steps"]] == list(range(t))
            assert [r["t"] for r in rows["actions"]] == list(range(1, t + 1))
            if loaded:
                assert bool((loaded.parts["model"]["w"] == t).all())
                assert loaded.warnings == []
            shutil.rmtree(home)
    assert len(seen) > 300


def test_a_kill_and_then_a_power_cut_lose_nothing_reported(tmp_path, journal, monkeypatch):
    """Killed after `checkpoints` was made and before that was durable: who resumes must make up for it."""
    folder, root = tmp_path / "run", tmp_path.stat().st_ino
    disk.make_folder(folder)
    journal.mkdir(folder / "checkpoints")
    record, *_ = Record.resume(folder)
    record.step(row(0))
    assert record.checkpoint(1, {}, {"t": 1})
    record.close()
    monkeypatch.setattr(disk, "os", os)
    for i, state in enumerate(states(journal.ops, random.Random(0))):
        Disk(state, root).copy_to(tmp_path / f"state{i}")
        again, loaded, rows, _ = Record.resume(tmp_path / f"state{i}" / "run")
        again.close()
        assert loaded
        assert (loaded.t, len(rows["steps"])) == (1, 1)


def test_the_power_may_fail_amid_a_resume(tmp_path, journal, monkeypatch):
    """An action behind the checkpoint is in the log or in the file of lost rows, whatever reaches the disk."""
    folder, root = tmp_path / "run", tmp_path.stat().st_ino
    disk.make_folder(folder)
    record = Record(folder)
    record.checkpoint(1, {}, {"t": 1})
    record.action(Action(1, "finish", "the time is up", "finish", 0.0, 0.5, "clock"))
    record.close()
    disk.sync_folder(folder)
    journal.ops += [("sync", op[1]) for op in journal.ops if op[0] == "write"]
    begun = len(journal.ops)
    again, _, _, lost = Record.resume(folder)
    again.close()
    monkeypatch.setattr(disk, "os", os)
    place = itertools.count()
    for end in range(begun, len(journal.ops) + 1):
        for state in states(journal.ops[:end], random.Random(end)):
            home = tmp_path / f"state{next(place)}"
            Disk(state, root).copy_to(home)
            last, loaded, _, found = Record.resume(home / "run")
            last.close()
            assert loaded
            assert found == lost
            assert [r["by"] for r in found] == ["clock"]
            shutil.rmtree(home)
    assert next(place) > 20
