from __future__ import annotations

import errno
import json
import math
import os
import timeit
import tracemalloc

import numpy as np
import pytest
import torch

from gradlearn.errors import CheckpointTrouble, ResourceTrouble
from gradlearn.record import log
from gradlearn.record.log import Log
from gradlearn.symbols import Step

STEPS = [Step(t, 2.3 / (t + 1), 0.1 * t, 3e-3, 128, t / 7, t != 3, 1e-5 * t, torch.arange(2)) for t in range(50)]
FIELDS = ("t", "loss", "norm", "lr", "n", "epoch", "applied", "seconds")


def rows_of(steps):
    return [dict(zip(FIELDS, step, strict=False)) for step in steps]


def filled(folder, steps=STEPS):
    one = Log(folder, "steps")
    for step in steps:
        one.add_step(step)
    one.close()
    return one.path


def test_a_step_is_a_row_with_its_numbers_bit_for_bit(tmp_path):
    path = filled(tmp_path)
    assert log.read(path) == rows_of(STEPS)
    assert path.read_text().splitlines()[1] == (
        '{"t":1,"loss":1.15,"norm":0.1,"lr":0.003,"n":128,"epoch":0.14285714285714285,"applied":true,"seconds":1e-05}'
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(tmp_path, bad):
    for at in (1, 2, 3, 5, 7):
        values = [3, 0.5, 0.5, 0.5, 2, 0.5, False, 0.5]
        values[at] = bad
        one = Log(tmp_path, f"steps{at}")
        one.add_step(Step(*values))
        one.close()
        values[at] = None
        assert log.read(one.path) == [dict(zip(FIELDS, values, strict=True))]


def test_numbers_of_other_libraries_are_plain_numbers(tmp_path):
    one = Log(tmp_path, "steps")
    one.add_step(Step(np.int64(1), np.float64(0.5), np.float32(0.5), 1e-3, np.int64(2), 0, np.bool_(True), 1.7e308))
    one.add_step(Step(2, torch.tensor(0.5), 1.7e308, 1.7e308, 2, 0.0, True, 0.0))
    one.close()
    assert log.read(one.path) == [
        {"t": 1, "loss": 0.5, "norm": 0.5, "lr": 1e-3, "n": 2, "epoch": 0, "applied": True, "seconds": 1.7e308},
        {"t": 2, "loss": 0.5, "norm": 1.7e308, "lr": 1.7e308, "n": 2, "epoch": 0.0, "applied": True, "seconds": 0.0},
    ]


def test_adding_a_step_costs_little_more_than_its_five_floats(tmp_path):
    """Five times repr of a float is the floor; the loop pays at most as much again."""
    one, step = Log(tmp_path, "steps"), Step(1234, 0.6931471824645996, 1.2345678806304932, 1 / 3, 128, 32 / 7, True, 1 / 7)
    numbers = (step.loss, step.norm, step.lr, step.epoch, step.seconds)
    floor = cost = 1e9
    for _ in range(30):
        floor = min(floor, timeit.timeit(lambda: [repr(x) for x in numbers], number=300))
        cost = min(cost, timeit.timeit(lambda: one.add_step(step), number=300))
    one.close()
    assert cost < 2 * floor


def test_a_flush_is_one_write(tmp_path, faulty):
    one = Log(tmp_path, "steps")
    tool = faulty()
    for step in STEPS:
        one.add_step(step)
    one.add({"a": 1})
    assert (tool.calls, one.pending) == ([], 51)
    one.flush()
    one.flush()
    assert (tool.calls, one.pending) == (["write"], 0)


def test_sync_returns_where_the_next_row_goes(tmp_path):
    one = Log(tmp_path, "scores")
    assert one.sync() == 0
    one.add({"t": 1})
    end = one.sync()
    assert end == one.path.stat().st_size == len('{"t":1}\n')
    one.add({"t": 2})
    one.close()
    assert one.path.read_bytes()[end:] == b'{"t":2}\n'
    again = Log(tmp_path, "scores")
    assert again.size == 2 * end
    again.close()


def test_sync_waits_for_the_disk_only_when_there_is_something_new(tmp_path, faulty):
    one = Log(tmp_path, "steps")
    one.sync()
    tool = faulty()
    one.sync()
    one.add({"t": 1})
    one.sync()
    one.sync()
    assert tool.calls == ["write", "fsync"]


def test_a_torn_last_line_is_dropped_and_mended(tmp_path):
    path = filled(tmp_path)
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        assert log.read(path) == rows_of(STEPS[:-1])
        assert log.columns(path, ["t"])["t"] == list(range(49))
    one = Log(tmp_path, "steps")
    one.add_step(STEPS[-1])
    one.close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"t":1,"t":2}', "duplicate key 't'"),
        (b'{"t":NaN}', "NaN is not a number"),
        (b'{"t":1e999}', "too large"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "deeper than 32"),
        (b'{"a":' + b"[" * 90_000, "deeper than 32"),
        (b"[1]", "not a JSON object"),
        (b"", "Expecting value"),
        (b'{"t":', "Expecting value"),
        (b"\0\0\0", "not valid JSON"),
        (b'{"t":"\xff"}', "is not UTF-8"),
    ],
)
def test_any_other_damage_is_named_with_its_line(tmp_path, line, says):
    path = filled(tmp_path, STEPS[:2])
    path.write_bytes(path.read_bytes() + line + b"\n" + b'{"t":9}\n')
    for reader in (log.read, lambda p: log.columns(p, ["t", "loss"])):
        with pytest.raises(CheckpointTrouble) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path}:3: not ")
        assert str(caught.value).endswith("; restore a copy")
        assert says in str(caught.value)


def test_no_file_is_no_rows_and_a_huge_one_is_refused(tmp_path):
    assert log.read(tmp_path / "steps.jsonl") == []
    assert log.columns(tmp_path / "steps.jsonl", ["t", "loss"]) == {"t": [], "loss": []}
    with pytest.raises(CheckpointTrouble, match=r"cannot be read \(\d+ bytes exceed 10\)"):
        log.read(filled(tmp_path), limit_bytes=10)


def test_columns_are_the_fields_of_the_rows(tmp_path):
    odd = [Step(50 + i, x, 1e-300, -0.0, 1, 1e22, False, 5e-324) for i, x in enumerate([math.nan, 1e-5, 1.5e300, -7.0, 0.0])]
    path = filled(tmp_path, STEPS + odd)
    rows = log.read(path)
    for names in (list(FIELDS), ["loss"], ["seconds", "t"], ["loss", "nothing"], []):
        want = {name: [row.get(name) for row in rows] for name in names}
        assert repr(log.columns(path, names)) == repr(want)
    path.write_bytes(path.read_bytes() + b'{"t":60, "loss":"x"}\n')  # not as we write it: read all the same
    assert log.columns(path, ["t", "loss"])["t"] == [*range(55), 60]
    assert log.columns(path, ["loss"])["loss"][-1] == "x"


def test_columns_of_a_long_log_are_read_in_pieces(tmp_path):
    steps = [Step(t, t / 7, t / 3, 1e-3, 32, t / 11, True, 1e-4) for t in range(30_000)]
    path = filled(tmp_path, steps)
    assert path.stat().st_size > 3 << 20
    tracemalloc.start()
    table = log.columns(path, ["t", "loss"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table == {"t": list(range(30_000)), "loss": [step.loss for step in steps]}
    assert peak < 3 * path.stat().st_size


# ---- the disk refuses


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "short"])
def test_no_row_is_lost_by_a_disk_that_refuses_for_a_while(tmp_path, faulty, fault):
    one = Log(tmp_path, "steps")
    told = []
    for t, step in enumerate(STEPS):
        one.add_step(step)
        faulty(1 if 10 <= t < 30 else 0, fault, forever=True)
        try:
            one.flush()
        except ResourceTrouble as error:
            told.append((t, str(error)))
    assert one.pending == 0
    one.close()
    assert log.read(one.path) == rows_of(STEPS)
    assert [t for t, _ in told] == ([] if fault == "short" else [10])  # once, then in silence
    if fault == errno.ENOSPC:
        assert told[0][1] == f"{one.path}: write failed: No space left on device; free space"


def test_half_a_row_written_is_completed_not_repeated(tmp_path, faulty, monkeypatch):
    one = Log(tmp_path, "steps")
    tool = faulty()
    real, sizes = os.write, iter([60, 0])

    def write(fd, data):
        size = next(sizes, None)
        if size == 0:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data[:size])

    monkeypatch.setattr(tool, "write", write, raising=False)
    for step in STEPS:
        one.add_step(step)
    with pytest.raises(ResourceTrouble):
        one.flush()
    assert (one.size, one.pending) == (60, 50)
    assert log.read(one.path) == []
    one.close()
    assert log.read(one.path) == rows_of(STEPS)


def test_lost_rows_are_said_at_the_end_and_a_sync_always_says(tmp_path, faulty):
    one = Log(tmp_path, "steps")
    one.add_step(STEPS[0])
    faulty(1, errno.ENOSPC, forever=True)
    for _ in range(2):
        with pytest.raises(ResourceTrouble):
            one.sync()
    one.flush()  # told already
    with pytest.raises(ResourceTrouble):
        one.close()
    one.close()


def test_after_a_failed_fsync_the_rows_go_to_a_new_file(tmp_path, faulty):
    """A second fsync of the same file may say yes without having written (rule D1.6)."""
    one = Log(tmp_path, "steps")
    one.add_step(STEPS[0])
    tool = faulty(2, errno.EIO)
    with pytest.raises(ResourceTrouble, match="Input/output error; check the disk"):
        one.sync()
    assert tool.calls == ["write", "fsync"]
    before = one.path.stat().st_ino
    one.add_step(STEPS[1])
    assert one.sync() == one.path.stat().st_size
    assert one.path.stat().st_ino != before
    one.add_step(STEPS[2])
    one.close()
    assert log.read(one.path) == rows_of(STEPS[:3])


def test_rows_that_the_disk_forgot_are_not_called_safe(tmp_path, faulty):
    one = Log(tmp_path, "steps")
    one.add_step(STEPS[0])
    faulty(2, errno.EIO)
    with pytest.raises(ResourceTrouble):
        one.sync()
    one.path.write_bytes(bytes(one.size))
    with pytest.raises(ResourceTrouble, match="rows written before are lost"):
        one.sync()
    one.close()


def test_a_folder_that_is_none_is_one_line(tmp_path):
    with pytest.raises(ResourceTrouble, match=r"none/steps\.jsonl: write failed: No such file or directory"):
        Log(tmp_path / "none", "steps")
    os.mkfifo(tmp_path / "steps.jsonl")
    with pytest.raises(ResourceTrouble, match="not a regular file"):
        Log(tmp_path, "steps")


# ---- coming back


def test_a_rewind_keeps_what_it_cuts_off(tmp_path):
    path = filled(tmp_path)
    data = path.read_bytes()
    offset = len(b"".join(data.splitlines(keepends=True)[:20]))
    assert log.rewind(path, offset, 20) == rows_of(STEPS[20:])
    assert path.read_bytes() == data[:offset]
    assert (tmp_path / "steps.lost-20.jsonl").read_bytes() == data[offset:]
    assert log.rewind(path, offset, 20) == []
    path.write_bytes(data)  # as if killed between the copy and the cut
    log.rewind(path, offset, 20)
    assert (tmp_path / "steps.lost-20.jsonl").read_bytes() == data[offset:]


def test_a_rewind_of_nothing_makes_nothing(tmp_path):
    assert log.rewind(tmp_path / "steps.jsonl", 0, 0) == []
    assert os.listdir(tmp_path) == []


def test_what_a_power_cut_left_behind_the_checkpoint_does_no_harm(tmp_path):
    path = filled(tmp_path, STEPS[:3])
    offset = path.stat().st_size
    tail = b'{"t":3}\n{"t":4}\n' + bytes(100) + b'\n{"t":5}\n{"t":'
    path.write_bytes(path.read_bytes() + tail)
    assert log.rewind(path, offset, 3) == [{"t": 3}, {"t": 4}]
    assert log.read(path) == rows_of(STEPS[:3])
    assert log.read(tmp_path / "steps.lost-3.jsonl") == [{"t": 3}, {"t": 4}]


def test_a_log_shorter_than_its_checkpoint_is_damage(tmp_path):
    path = filled(tmp_path)
    size = path.stat().st_size
    for offset in (size + 1, size - 1):
        with pytest.raises(CheckpointTrouble, match=rf"damaged before byte {offset}, the end at step 50; restore a copy"):
            log.rewind(path, offset, 50)
    assert path.stat().st_size == size
    path.unlink()
    with pytest.raises(CheckpointTrouble, match=r"file not found, step 50 needs 5 bytes of it; restore a copy"):
        log.rewind(path, 5, 50)


def test_strings_with_control_characters_stay_on_their_line(tmp_path):
    one = Log(tmp_path, "findings")
    one.add({"what": "a\nb\x1b[31m\u2028é", "evidence": {"file": "\udcff"}})
    one.close()
    data = one.path.read_bytes()
    assert data.count(b"\n") == 1
    assert all(32 <= c < 127 for c in data[:-1])
    assert json.loads(data)["what"] == "a\nb\x1b[31m\u2028é"
    assert log.read(one.path)[0]["evidence"] == {"file": "\udcff"}
