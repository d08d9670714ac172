from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gradlearn.errors import CheckpointTrouble, NumericsTrouble
from gradlearn.record import checkpoint, disk, strict
from gradlearn.record.checkpoint import SaveFailed

from .faults import Crash, Faulty, outcome, tiny

FAULTS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, "short"]


def put(folder, state, *steps, **options):
    for t in steps:
        path = checkpoint.save(folder, t, *state(t), **options)
    return path


def same(loaded, state):
    parts, meta = state(loaded.t)
    assert loaded.state == meta
    assert set(loaded.parts) == set(parts)
    for part, group in parts.items():
        assert set(loaded.parts[part]) == set(group)
        for name, tensor in group.items():
            got = loaded.parts[part][name]
            assert got.dtype == tensor.dtype
            assert torch.equal(got, tensor)
    return True


def names(folder):
    return sorted(os.listdir(folder / "checkpoints"))


# ---- what is saved comes back


def test_what_is_saved_comes_back_bit_for_bit(tmp_path, state):
    path = put(tmp_path, state, 7)
    loaded = checkpoint.newest(tmp_path)
    assert path == tmp_path / "checkpoints" / "step-000000000007"
    assert loaded.t == 7
    assert loaded.warnings == []
    assert same(loaded, state)


def test_the_same_state_gives_the_same_bytes(tmp_path, state):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    parts, meta = state(3)
    checkpoint.save(one, 3, parts, meta)
    turned = {part: dict(reversed(group.items())) for part, group in reversed(parts.items())}
    checkpoint.save(two, 3, turned, dict(reversed(meta.items())))
    files = sorted(os.listdir(one / "checkpoints/step-000000000003"))
    assert files == ["MANIFEST.json", "model.safetensors", "state.json", "update.safetensors"]
    for name in files:
        assert (one / "checkpoints/step-000000000003" / name).read_bytes() == (
            two / "checkpoints/step-000000000003" / name
        ).read_bytes()


def test_the_manifest_tells_the_truth(tmp_path, state):
    path = put(tmp_path, state, 1200)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert (manifest["format"], manifest["step"]) == (1, 1200)
    for name, entry in manifest["files"].items():
        data = (path / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoint.newest(tmp_path) is None


def test_others_may_read_what_the_umask_allows(tmp_path, state):
    before = os.umask(0o022)
    try:
        path = put(tmp_path, state, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((path / "model.safetensors").stat().st_mode) == 0o644


def test_saving_a_step_again_replaces_it(tmp_path, state):
    put(tmp_path, state, 5)
    checkpoint.save(tmp_path, 5, state(5)[0], {"t": 5, "again": True})
    assert names(tmp_path) == ["step-000000000005"]
    assert checkpoint.newest(tmp_path).state == {"t": 5, "again": True}


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": float("inf")}])
def test_a_state_that_is_not_finite_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match=r"value\.x: (nan|inf) is not finite"):
        checkpoint.save(tmp_path, 0, {}, bad)


def test_parts_have_fixed_names(tmp_path):
    with pytest.raises(ValueError, match="only model, update, average, task, ring are stored"):
        checkpoint.save(tmp_path, 0, {"../evil": {}}, {})
    assert os.listdir(tmp_path) == []


def test_nan_is_never_committed(tmp_path, state):
    put(tmp_path, state, 1)
    parts, meta = state(2)
    parts["model"]["bn.mean"] = torch.tensor([1.0, float("nan")])
    with pytest.raises(NumericsTrouble, match=r"step 2: model tensor 'bn.mean' holds NaN, not saved, last good step 1; "):
        checkpoint.save(tmp_path, 2, parts, meta)
    assert names(tmp_path) == ["step-000000000001"]


def test_infinities_are_allowed_where_they_were_from_the_start(tmp_path, state):
    parts, meta = state(2)
    parts["model"]["mask"] = torch.full((2, 2), -torch.inf).triu(1)
    allowed = checkpoint.infinities(parts)
    assert allowed == {"model/mask"}
    checkpoint.save(tmp_path, 2, parts, meta, infinite=allowed)
    parts["update"]["m"][3] = torch.inf
    with pytest.raises(NumericsTrouble, match="update tensor 'm' holds an infinity"):
        checkpoint.save(tmp_path, 3, parts, meta, infinite=allowed)
    assert torch.equal(checkpoint.newest(tmp_path).parts["model"]["mask"], parts["model"]["mask"])


# ---- retention


def test_the_last_three_are_kept(tmp_path, state):
    put(tmp_path, state, 1, 2, 3, 4, 5)
    assert names(tmp_path) == [f"step-00000000000{t}" for t in (3, 4, 5)]
    put(tmp_path, state, 6, keep=1)
    assert names(tmp_path) == ["step-000000000006"]


def test_order_is_by_number_never_by_time(tmp_path, state):
    put(tmp_path, state, 9, 10, 11)
    for t in (9, 10, 11):
        os.utime(tmp_path / f"checkpoints/step-{t:012d}", (100 - t, 100 - t))
    put(tmp_path, state, 12)
    assert names(tmp_path) == [f"step-{t:012d}" for t in (10, 11, 12)]
    assert checkpoint.newest(tmp_path).t == 12


def test_pruning_removes_only_what_we_made(tmp_path, state):
    home, outside = tmp_path / "checkpoints", tmp_path / "outside"
    put(tmp_path, state, 1)
    outside.mkdir()
    (outside / "MANIFEST.json").write_text("precious")
    (home / "step-000000000000").symlink_to(outside)
    (home / "notes").mkdir()
    (home / "step-1").mkdir()
    (home / ".tmp-mine").write_text("x")
    put(tmp_path, state, 2, 3, 4, 5)
    assert (outside / "MANIFEST.json").read_text() == "precious"
    assert set(names(tmp_path)) >= {"notes", "step-1", ".tmp-mine", "step-000000000000"}
    assert "step-000000000001" not in names(tmp_path)


def test_the_step_just_written_is_never_pruned(tmp_path, state):
    put(tmp_path, state, 11, 12, 13)
    put(tmp_path, state, 2, keep=1)
    assert "step-000000000002" in names(tmp_path)


# ---- the disk refuses


def saved_calls(faulty, folder, state, t):
    tool = faulty()
    put(folder, state, t)
    return tool.count


@pytest.mark.parametrize("forever", [False, True], ids=["once", "forever"])
@pytest.mark.parametrize("fault", FAULTS, ids=["ENOSPC", "EIO", "EDQUOT", "short"])
def test_a_failed_write_never_costs_a_committed_checkpoint(tmp_path, state, faulty, fault, forever):
    """Every changing system call of one save (with its pruning), failed in turn."""
    start = tmp_path / "start"
    start.mkdir()
    faulty()
    put(start, state, 1, 2, 3)
    shutil.copytree(start, tmp_path / "count")
    total = saved_calls(faulty, tmp_path / "count", state, 4)
    assert total > 30
    failures = 0
    for k in range(1, total + 1):
        folder = tmp_path / f"{k}"
        shutil.copytree(start, folder, copy_function=os.link)
        faulty(k, fault, forever)
        said = outcome(lambda folder=folder: put(folder, state, 4))
        faulty()
        assert re.fullmatch(r"(5 [^\n]*: write failed: [^\n]* \(checkpoint, last good step [34]\); [a-z ]+)?", said)
        failures += bool(said)
        loaded = checkpoint.newest(folder)
        assert loaded.t >= (3 if said else 4)
        assert loaded.warnings == []
        assert same(loaded, state)
        put(folder, state, 5)  # and the run goes on
        assert checkpoint.newest(folder).t == 5
        assert not [name for name in names(folder) if name.startswith(".")]
        shutil.rmtree(folder)
    assert (failures > 20) == (forever and fault != "short")
    assert failures == 0 or forever  # the second try, with new files, is enough for a single failure


def test_every_fsync_is_there(tmp_path, state, faulty):
    tool = faulty()
    put(tmp_path, state, 1)
    files = len(os.listdir(tmp_path / "checkpoints/step-000000000001"))
    tool = faulty()
    put(tmp_path, state, 2)
    last = max(i for i, name in enumerate(tool.calls) if name == "rename")
    assert tool.calls[:last].count("fsync") == files + 1  # each file, their folder
    assert tool.calls[last:].count("fsync") == 1  # the folder that holds the step


def test_a_failed_save_leaves_nothing_behind(tmp_path, state, monkeypatch):
    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    put(tmp_path, state, 1)
    monkeypatch.setattr(disk, "write_all", full)
    with pytest.raises(SaveFailed, match=r"write failed: No space left on device \(checkpoint, last good step 1\); free space$"):
        put(tmp_path, state, 2)
    assert names(tmp_path) == ["step-000000000001"]


def test_a_full_disk_is_seen_before_it_is_full(tmp_path, state, monkeypatch):
    put(tmp_path, state, 1)
    monkeypatch.setattr(disk, "free", lambda folder: 12_100_000)
    with pytest.raises(SaveFailed) as caught:
        put(tmp_path, state, 2)
    assert re.fullmatch(rf"{tmp_path}: disk has 12\.1 MB free, a checkpoint needs 16\.8 MB; free space", str(caught.value))
    assert names(tmp_path) == ["step-000000000001"]


# ---- the process dies, the power fails


def test_a_kill_at_any_call_leaves_a_whole_run(tmp_path, state, faulty):
    """Saving steps 1 and 2, step 2 a second time, one kept; the process ends before the k-th changing call."""

    def live(folder, done):
        folder.mkdir()
        for t in (1, 2, 2):
            put(folder, state, t, keep=1)
            done.append(t)

    tool = faulty()
    live(tmp_path / "unbroken", [])
    assert tool.count > 80
    for k in range(1, tool.count + 1):
        folder, done = tmp_path / str(k), []
        faulty(k, "crash")
        assert outcome(lambda folder=folder, done=done: live(folder, done)) == "crash"
        faulty()
        loaded = checkpoint.newest(folder)
        assert (loaded.t if loaded else 0) >= max(done, default=0)
        assert loaded is None or (same(loaded, state) and not loaded.warnings)
        put(folder, state, 3, keep=2)
        left = [name for name in names(folder) if not re.fullmatch(r"step-\d{12}", name)]
        assert all(name.endswith(".old") and name[:17] not in names(folder) for name in left)
        shutil.rmtree(folder)


def test_a_real_kill_leaves_a_whole_run(tmp_path):
    """25 processes that save all the time, each ended by SIGKILL at a random instant."""
    program = f"""
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from gradlearn.record import checkpoint
folder, last = Path({str(tmp_path)!r}), 0
random.seed(1)
for life in range(25):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for t in range(last + 1, last + 1000):
            parts = {{"model": {{"w": torch.full((50_000,), float(t))}}}}
            checkpoint.save(folder, t, parts, {{"t": t}})
            os.write(writer, b"%12d" % t)
        os._exit(1)
    os.close(writer)
    time.sleep(random.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = b""
    while got := os.read(reader, 1 << 16):
        said += got
    os.close(reader)
    reported = int(said[-12:] or 0) or last
    loaded = checkpoint.newest(folder)
    now = loaded.t if loaded else 0
    assert now >= reported, (now, reported)
    assert loaded is None or (loaded.state["t"] == now and bool((loaded.parts["model"]["w"] == now).all()))
    last = now
print("last", last)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert int(done.stdout.removeprefix("last ")) > 5
    assert not [name for name in names(tmp_path) if not re.fullmatch(r"step-\d{12}", name)]


# ---- the disk lies


def mutants(folder):
    """Every file cut at every 64th byte, one bit flipped in every 64th byte; every byte of the two JSON files."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for at in range(0, len(data), 64):
            yield path, data[:at]
        step = 1 if path.suffix == ".json" else 64
        for at in range(0, len(data), step):
            yield path, data[:at] + bytes([data[at] ^ (1 << (at // step) % 8)]) + data[at + 1 :]
        yield path, data + b"\n"
        path.write_bytes(data)


def test_every_corruption_is_noticed_and_the_step_before_is_used(tmp_path, state, faulty):
    faulty()
    put(tmp_path, state, 1, 2)
    home, victim = tmp_path / "checkpoints", tmp_path / "checkpoints/step-000000000002"
    count = 0
    for path, data in mutants(victim):
        path.write_bytes(data)
        loaded = checkpoint.newest(tmp_path)
        assert loaded.t == 1
        assert same(loaded, state)
        assert len(loaded.warnings) == 1
        assert re.fullmatch(rf"{victim}: .+ \(.+\); using step-000000000001", loaded.warnings[0])
        (home / "step-000000000002.corrupt").rename(victim)
        count += 1
    assert count > 500
    assert checkpoint.newest(tmp_path).t == 2  # mended, it is good again


def rename_part(victim):
    (victim / "model.safetensors").rename(victim / "average.safetensors")


def swap(victim):
    (victim / "model.safetensors").rename(victim / "x")
    (victim / "update.safetensors").rename(victim / "model.safetensors")
    (victim / "x").rename(victim / "update.safetensors")


def stale(name):
    def act(victim):
        shutil.copy(victim.parent / "step-000000000001" / name, victim / name)

    return act


def link(victim):
    (victim / "model.safetensors").rename(victim.parent.parent / "elsewhere")
    (victim / "model.safetensors").symlink_to(victim.parent.parent / "elsewhere")


def fifo(victim):
    (victim / "model.safetensors").unlink()
    os.mkfifo(victim / "model.safetensors")


def whole_stale_step(victim):
    shutil.rmtree(victim)
    shutil.copytree(victim.parent / "step-000000000001", victim)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda v: (v / "MANIFEST.json").unlink(), r"MANIFEST\.json is missing \(incomplete\)"),
        (lambda v: (v / "state.json").unlink(), r"state\.json is missing \(incomplete\)"),
        (lambda v: (v / "update.safetensors").unlink(), r"update\.safetensors is missing \(incomplete\)"),
        (lambda v: (v / "ring.safetensors").write_bytes(b"x"), r"has a file that is not in its manifest \(damaged\)"),
        (lambda v: (v / "evil.sh").write_bytes(b"x"), r"has a file that is not in its manifest \(damaged\)"),
        (rename_part, r"missing \(incomplete\)|not in its manifest \(damaged\)"),
        (swap, r"model\.safetensors has \d+ bytes, not \d+ \(damaged\)"),
        (stale("model.safetensors"), r"model\.safetensors hash differs \(damaged\)"),
        (stale("state.json"), r"state\.json (hash differs|has \d+ bytes, not \d+) \(damaged\)"),
        (stale("MANIFEST.json"), r"MANIFEST\.json is of another step \(damaged\)"),
        (whole_stale_step, r"MANIFEST\.json is of another step \(damaged\)"),
        (link, r"model\.safetensors has \d+ bytes, not \d+ \(damaged\)"),
        (fifo, r"model\.safetensors has 0 bytes, not \d+ \(damaged\)"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_missing_or_too_many_is_noticed(tmp_path, state, act, says):
    put(tmp_path, state, 1, 2)
    act(tmp_path / "checkpoints/step-000000000002")
    loaded = checkpoint.newest(tmp_path)
    assert loaded.t == 1
    assert re.search(says + "; using step-000000000001$", loaded.warnings[0])
    assert names(tmp_path) == ["step-000000000001", "step-000000000002.corrupt"]


def test_a_manifest_that_lies_with_a_right_seal_is_no_way_out(tmp_path, state):
    put(tmp_path, state, 1)
    path = put(tmp_path, state, 2)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    del manifest["sha256_of_rest"]
    for bad in (
        manifest | {"files": {"../../run.toml": {"bytes": 1, "sha256": ""}}},
        manifest | {"files": []},
        manifest | {"files": manifest["files"] | {"state.json": 7}},
        manifest | {"files": manifest["files"] | {"state.json": {"bytes": "9", "sha256": "x"}}},
        manifest | {"step": "2"},
        {"format": 1},
    ):
        (path / "MANIFEST.json").write_bytes(strict.document(strict.sealed(bad), indent=1))
        assert checkpoint.newest(tmp_path).t == 1
        (path.parent / (path.name + ".corrupt")).rename(path)


def test_none_valid_is_said_and_said_again(tmp_path, state):
    put(tmp_path, state, 1, 2)
    home = tmp_path / "checkpoints"
    (home / "step-000000000001/state.json").write_text("{}")
    (home / "step-000000000002/MANIFEST.json").unlink()
    line = r"checkpoints: no valid checkpoint \({}\); start anew or restore a copy$"
    with pytest.raises(CheckpointTrouble, match=line.format("1 damaged, 1 incomplete")) as caught:
        checkpoint.newest(tmp_path)
    assert caught.value.code == 4
    with pytest.raises(CheckpointTrouble, match=line.format("2 damaged, 0 incomplete")):
        checkpoint.newest(tmp_path)  # not a silent start from step 0


def test_a_second_corrupt_copy_does_not_overwrite_the_first(tmp_path, state):
    for _ in range(2):
        put(tmp_path, state, 1, 2)
        (tmp_path / "checkpoints/step-000000000002/state.json").unlink()
        checkpoint.newest(tmp_path)
    assert names(tmp_path) == ["step-000000000001", "step-000000000002.corrupt", "step-000000000002.corrupt-1"]


def test_a_newer_format_is_refused_and_left_alone(tmp_path, state):
    path = put(tmp_path, state, 1)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    del manifest["sha256_of_rest"]
    (path / "MANIFEST.json").write_bytes(strict.document(strict.sealed(manifest | {"format": 3, "new": [1]}), indent=1))
    with pytest.raises(CheckpointTrouble, match=r"format 3 is newer than this program \(1\); upgrade it"):
        checkpoint.newest(tmp_path)
    assert names(tmp_path) == ["step-000000000001"]


def test_left_over_spare_folders_are_swept_and_are_no_checkpoint(tmp_path):
    home = tmp_path / "checkpoints"
    for name in (".tmp-5-4711-0123abcd", ".trash-step-000000000001-4711-0123abcd"):
        (home / name).mkdir(parents=True)
        (home / name / "model.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) is None
    assert names(tmp_path) == []


def test_a_replaced_step_is_used_while_the_new_one_is_not_there(tmp_path, state):
    path = put(tmp_path, state, 5)
    path.rename(disk.aside(path))
    assert same(checkpoint.newest(tmp_path), state)
    put(tmp_path, state, 6, 7)
    put(tmp_path, state, 8, keep=2)
    assert names(tmp_path) == ["step-000000000007", "step-000000000008"]


# ---- any order of events


class Life(RuleBasedStateMachine):
    """Saves, failures, kills, damage, in any order: what was reported and is undamaged can be loaded."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.t = 0
        self.good: list[int] = []  # reported and not damaged by us
        self.hurt = False
        disk.os = Faulty()

    @rule()
    def save(self) -> None:
        self.t += 1
        checkpoint.save(self.folder, self.t, *tiny(self.t))
        self.good.append(self.t)

    @rule(k=st.integers(1, 60), fault=st.sampled_from(FAULTS), forever=st.booleans())
    def save_on_a_bad_disk(self, k: int, fault: int | str, forever: bool) -> None:
        self.t += 1
        disk.os = Faulty(k, fault, forever)
        try:
            checkpoint.save(self.folder, self.t, *tiny(self.t))
            self.good.append(self.t)
        except SaveFailed:
            pass
        disk.os = Faulty()

    @rule(k=st.integers(1, 60))
    def killed(self, k: int) -> None:
        self.t += 1
        disk.os = Faulty(k, "crash")
        try:
            checkpoint.save(self.folder, self.t, *tiny(self.t))
            self.good.append(self.t)
        except Crash:
            pass
        disk.os = Faulty()

    @rule(data=st.data())
    def damage_the_newest(self, data: st.DataObject) -> None:
        home = self.folder / "checkpoints"
        steps = sorted(home.glob("step-????????????")) if home.is_dir() else []
        if len(steps) < 2:
            return
        path = data.draw(st.sampled_from(sorted(steps[-1].iterdir())))
        old = path.read_bytes()
        at = data.draw(st.integers(0, max(len(old) - 1, 0)))
        path.write_bytes(old[:at] + bytes([old[at] ^ 4]) + old[at + 1 :])
        self.good = [t for t in self.good if t != int(steps[-1].name[5:])]
        self.hurt = True

    @invariant()
    def the_newest_good_one_is_there(self) -> None:
        kept = [t for t in self.good if t > self.t - 3] if not self.hurt else []
        loaded = checkpoint.newest(self.folder)
        if loaded is None:
            assert not self.good
            return
        assert loaded.t >= max(kept, default=0)
        assert same(loaded, tiny)

    def teardown(self) -> None:
        disk.os = os
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestLife = Life.TestCase
TestLife.settings = settings(derandomize=True, max_examples=15, stateful_step_count=15, deadline=None, database=None)
