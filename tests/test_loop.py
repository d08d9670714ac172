"""The loop: steps until the end, remedies on the way, and nothing that looks at a run changes it."""

from __future__ import annotations

import copy
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.adapt import Examples
from gradlearn.care import perform
from gradlearn.find import find
from gradlearn.loop import Cadence, Descent, evaluating, keep_shown, restore, score, train
from gradlearn.optimizer import pack
from gradlearn.record.record import Record
from gradlearn.symbols import Action, Batch, Data, Losses, Now, Score, Step
from toys import Line, Pictures, Poisoned, Toy, descent


def look(d: Descent) -> Score | None:
    return score(d, None, "valid", d.valid)


def state(d: Descent) -> list[Tensor]:
    """Theta, buffers, update, average: everything that a rewind brings back."""
    tensors = [*d.theta.snapshot(), *pack(d.update)[0].values(), *d.average.state().values()]
    return [t.clone() for t in tensors]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def poisoned(steps: int = 40, *, at: tuple[int, ...] = (), examples: tuple[int, ...] = (), **more: Any) -> Descent:
    more.setdefault("cadence", Cadence(snapshot=10))
    d = descent(Line(), steps, average="ema", **more)
    d.data = Poisoned(d.data, 0, at, examples)
    return d


# ---- rewinding


def test_rewind_brings_back_theta_update_average_and_buffers_bitwise_and_t_goes_on():
    d = descent(Line(), 40, average="ema", cadence=Cadence(snapshot=5))
    at: dict[int, list[Tensor]] = {0: state(d)}
    for _ in train(d):
        at[d.t] = state(d)
        if d.t == 13:
            break
    assert [s.t for s in d.ring] == [0, 5, 10]
    assert not same(at[13], at[10])
    assert d.rewind(0) == 10
    assert same(state(d), at[10])
    assert (d.t, d.seen) == (13, 13 * 8)
    assert d.rewind(8) == 5
    assert same(state(d), at[5])
    assert [s.t for s in d.ring] == [0, 5]
    assert d.rewind(1000) == 0, "the oldest there is"
    assert same(state(d), at[0])


def test_training_goes_on_after_a_rewind_from_what_it_brought_back():
    """The snapshot is a copy: going back twice to it brings the same."""
    d = descent(Line(), 60, average="ema", cadence=Cadence(snapshot=5))
    steps = train(d)
    for _ in range(12):
        next(steps)
    d.rewind(0)
    there = state(d)
    for _ in range(2):
        next(steps)
    assert not same(state(d), there)
    d.rewind(0)
    assert same(state(d), there)


def test_the_ring_keeps_the_newest():
    d = descent(Line(), 40, cadence=Cadence(snapshot=4, ring=2))
    list(train(d))
    assert [s.t for s in d.ring] == [32, 36]


def test_a_logged_rewind_says_from_where_to_where():
    d = descent(Line(), 40, cadence=Cadence(snapshot=5))
    for _ in train(d):
        if d.t == 12:
            break
    perform(d, Action(11, "rewind", "because"))
    assert d.history.actions == [Action(11, "rewind", "because", "t", 12.0, 5.0, "watch")], (
        "an applied step: one snapshot further back"
    )


# ---- numbers that are none


def test_a_single_bad_example_is_skipped_and_named_in_every_epoch():
    d = poisoned(30, examples=(17,))
    steps = list(train(d))
    bad = [s for s in steps if not s.applied]
    assert len(steps) == 30
    assert len(bad) == 5  # 30 steps of 8 are 5 epochs of 48
    assert all(17 in s.index.tolist() for s in bad)
    assert [f.t for f in d.history.findings] == [s.t for s in bad]
    assert all(17 in f.evidence["examples"] and f.name == "non-finite" for f in d.history.findings)
    assert [a.name for a in d.history.actions] == ["skip"] * 5
    assert all("17" in a.why for a in d.history.actions)
    assert d.controls.stop == -1
    assert all(t.isfinite().all() for t in state(d))


def test_a_bad_example_leaves_no_trace_in_running_statistics():
    d = poisoned(12, examples=(17,))
    for step in train(d):
        if not step.applied:
            assert all(b.isfinite().all() for b in d.theta.buffers())
    assert d.history.applied.count(False) == 2


def test_three_bad_steps_in_a_row_rewind_and_cool():
    d = poisoned(40, at=(15, 16, 17))
    there, seen = [], []
    for step in train(d):
        seen.append(step.t)
        if d.t == 10:
            there = state(d)
        if d.t == 18:
            assert same(state(d), there), "as at the newest snapshot"
    assert seen == list(range(40)), "t never goes back"
    assert [(a.t, a.name) for a in d.history.actions] == [(15, "skip"), (16, "skip"), (17, "rewind"), (17, "turn")]
    turn = d.history.actions[-1]
    assert (turn.dial, turn.before, turn.after) == ("rate", 1.0, 0.5)
    assert d.controls.rate == 0.5
    plain = descent(Line(), 40)
    lrs = [s.lr for s in train(plain)]
    assert d.history.lr[18:] == pytest.approx([lr / 2 for lr in lrs[18:]])
    assert d.history.applied[18:] == [True] * 22
    assert d.controls.stop == -1


def test_four_rewinds_and_more_trouble_end_the_run_with_code_three_and_good_weights():
    d = poisoned(60, at=tuple(range(15, 60)))
    there: list[Tensor] = []
    for _ in train(d):
        if d.t == 10:
            there = state(d)
    names = [a.name for a in d.history.actions]
    assert d.controls.stop == 3
    assert d.t < 60
    assert names.count("turn") == 4
    assert names[-1] == "stop"
    assert d.controls.rate >= 0.5, "at good weights there are no numbers either: it is not the rate"
    assert same(state(d), there)


def test_without_remedies_the_first_bad_step_is_the_last():
    d = poisoned(40, at=(15,))
    d.remedies = [find("remedy", "stop")(answers=("non-finite",))]
    before: list[Tensor] = []
    for _ in train(d):
        if d.t == 15:
            before = state(d)[: len(d.theta.blocks)]
    assert (d.t, d.controls.stop) == (16, 3)
    assert [a.name for a in d.history.actions] == ["stop"]
    assert same(state(d)[: len(d.theta.blocks)], before)
    assert all(t.isfinite().all() for t in state(d))


def test_without_remedies_divergence_is_said_and_not_acted_upon():
    d = descent(Line(), 200, update="sgd", rate=("constant",), remedies=())
    d.remedies = [find("remedy", "stop")(answers=("non-finite",))]
    d.update.param_groups[0]["initial_lr"] = d.update.param_groups[1]["initial_lr"] = 0.0
    d.objective = Growing(d)
    assert len(list(train(d))) == 200
    assert {f.name for f in d.history.findings} == {"diverged"}
    assert d.history.actions == []


def test_divergence_rewinds_at_least_one_snapshot_and_cools():
    d = descent(Line(), 120, rate=("constant",), cadence=Cadence(snapshot=10))
    d.objective = Growing(d, 60)
    list(train(d))
    first = d.history.actions[:2]
    assert [a.name for a in first] == ["rewind", "turn"]
    assert first[0].after is not None
    assert first[0].after <= first[0].t + 1 - 10
    assert d.history.findings[0].name == "diverged"


class Growing:
    """A loss that grows from some step on, whatever theta does."""

    def __init__(self, d: Descent, since: int = 0) -> None:
        self.d, self.model, self.since = d, d.theta.model, since

    def __call__(self, batch: Batch) -> Losses:
        losses = self.d.task.losses(self.model, batch)
        return losses._replace(total=losses.total * 0 + 1.1 ** max(self.d.t - self.since, 0) + 0 * losses.total)


class Masked(Toy):
    """A model with an infinite buffer that is meant so: an attention mask; it learns to sum what it may see."""

    size = 8

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.register_buffer("mask", torch.tensor([0.0, 0.0, float("-inf")]))

        def forward(self, x: Tensor) -> Tensor:
            return ((self.linear(x) + self.mask).softmax(1) * x).sum(1)

    def make(self) -> Data:
        x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        return Examples(x, x[:, 0])

    def net(self) -> nn.Module:
        return self.Net()

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        return Losses((model(batch.x) - batch.y).square(), torch.ones(batch.n))


@pytest.mark.parametrize("average", find("average", "ema") and ["ema", "plain"])
def test_an_infinite_mask_is_no_fault(average: str):
    """Snapshots go on, averages keep it, a stop brings back the last good weights and not the first."""
    d = descent(Masked(), 40, average=average, cadence=Cadence(snapshot=5), valid=Masked().data("valid"))
    d.data = Late(d.data, 33)
    list(train(d))
    assert d.history.findings[0].t == 33
    assert d.ring[-1].t >= 30
    assert d.theta.model.mask.tolist() == [0.0, 0.0, float("-inf")]
    assert d.history.scores[-1][2].value < 10
    with d.average.shown(d.theta):
        assert d.theta.model.mask.tolist() == [0.0, 0.0, float("-inf")]
    assert not torch.equal(d.theta.model.linear.weight, Masked().model(0).linear.weight)


class Late:
    """Not a number from some step on."""

    def __init__(self, data: Data, since: int) -> None:
        self.data, self.good = data, {chance.key(0, "batch", t) for t in range(since)}

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        batch = self.data(index, draw)
        return batch if draw in self.good else batch._replace(x=batch.x * float("nan"))


# ---- looking changes nothing


class Nosy(Line):
    """Scoring that does everything it should not: draws, counts in buffers, changes modes."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("other", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.other = self.other + 1
            return x + 1e-3 * self.calls + 1e-3 * self.other

    def net(self) -> nn.Module:
        return nn.Sequential(*super().net(), self.Counter())

    def score(self, model: nn.Module, data: Data) -> Score:
        torch.rand(3)
        assert not any(m.training for m in model.modules())
        model[3].train()
        return super().score(model, data)


def final(tmp: Path | None, **options: Any) -> tuple[list[Tensor], list[float]]:
    record = None
    if tmp is not None:
        tmp.mkdir()
        record = Record(tmp)
    looks = options.pop("looks", 0)
    d = descent(Nosy(), 24, average="ema", cadence=Cadence(**options), valid=Nosy().data("valid"))
    torch.manual_seed(options.get("score", 0))
    for _ in train(d, record):
        for _ in range(looks):
            look(d)
    return state(d), d.history.loss


@pytest.mark.parametrize("options", [
    {"score": 1}, {"score": 5}, {"snapshot": 3}, {"snapshot": 7, "ring": 1}, {"save": 1}, {"save": 5, "score": 2},
    {"save_seconds": 0.0}, {"looks": 2},
])  # fmt: skip
def test_how_often_it_scores_logs_and_saves_changes_nothing_bitwise(options: dict[str, Any], tmp_path: Path):
    theta, losses = final(None)
    other, again = final(tmp_path / "run" if {"save", "save_seconds"} & options.keys() else None, **options)
    assert losses == again
    assert same(theta, other)


def test_scoring_leaves_everything_as_found():
    d = descent(Nosy(), 24, average="ema", valid=Nosy().data("valid"))
    steps = train(d)
    for _ in range(5):
        next(steps)
    before, random, g = state(d), torch.get_rng_state(), d.theta.blocks[0].grad.clone()
    modes = [m.training for m in d.theta.model.modules()]
    first, second = look(d), look(d)
    assert first == second
    assert first is not None
    assert same(state(d), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(d.theta.blocks[0].grad, g)
    assert [m.training for m in d.theta.model.modules()] == modes


def test_evaluating_puts_back_modes_buffers_and_random_state_after_an_error_too():
    model = Nosy().model(0)
    model[1].eval()
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()

    def fails() -> None:
        assert not torch.is_grad_enabled()
        model(torch.ones(2, 3))
        torch.rand(3)
        raise KeyError

    with pytest.raises(KeyError), evaluating(model):
        fails()
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert model[-1].calls == model[-1].other == 0


def test_random_state_between_steps_is_the_callers():
    """What the caller draws between steps is neither disturbed by the steps nor disturbs them."""
    d, quiet = descent(Pictures(), 6), descent(Pictures(), 6)
    torch.manual_seed(3)
    drawn = [torch.rand(1).item() for _ in train(d)]
    torch.manual_seed(3)
    assert drawn == [torch.rand(1).item() for _ in range(6)]
    assert [s.loss for s in train(quiet)] == d.history.loss


# ---- the end, and before it


def test_finish_brings_the_rate_to_zero_at_the_new_end():
    for end in (30, 80):
        d = descent(Line(), 60)

        def clock(d: Descent, end: int = end) -> Action | None:
            return Action(d.t - 1, "finish", "slow", "end", 60.0, float(end), "clock") if d.t == 20 else None

        lrs = [s.lr for s in train(d, clock=clock)]
        assert len(lrs) == end
        assert d.controls.end == end
        plain = [s.lr for s in train(descent(Line(), 60))]
        assert lrs[:20] == plain[:20]
        assert lrs[20] == pytest.approx(plain[20], rel=0.02), "no jump"
        falls = [a - b for a, b in itertools.pairwise(lrs[20:])]
        assert falls == pytest.approx([falls[0]] * len(falls))
        assert lrs[-1] == pytest.approx(falls[0]), "the next would be zero"
        assert [(a.name, a.by) for a in d.history.actions] == [("finish", "clock")]


def test_a_second_finish_starts_from_where_the_first_had_come():
    d = descent(Line(), 60, rate=("constant",))
    ends = {20: 40.0, 30: 50.0}

    def clock(d: Descent) -> Action | None:
        return Action(d.t - 1, "finish", "", "end", None, ends[d.t], "clock") if d.t in ends else None

    lrs = [s.lr / d.task.lr for s in train(d, clock=clock)]
    assert len(lrs) == 50
    assert lrs[29] == pytest.approx(0.55)
    assert lrs[30] == pytest.approx(0.5)
    assert lrs[40] == pytest.approx(0.25)


def test_actions_of_a_clock_that_is_gone_are_replayed_at_their_step():
    first = descent(Line(), 60)
    clock = lambda d: Action(d.t - 1, "finish", "slow", "end", 60.0, 30.0, "clock") if d.t == 20 else None  # noqa: E731
    list(train(first, clock=clock))
    second = descent(Line(), 60)
    second.replay = list(first.history.actions)
    list(train(second))
    assert second.history.lr == first.history.lr
    assert same(state(first), state(second))


def test_the_caller_may_break_out_and_go_on_later():
    whole = descent(Line(), 30, average="ema")
    list(train(whole))
    d = descent(Line(), 30, average="ema")
    d.theta.model[1].eval()
    for step in train(d):
        assert d.theta.model[1].training
        if step.t == 11:
            break
    assert d.t == 12
    assert [m.training for m in d.theta.model] == [True, False, True, True, True], "modes are the caller's again"
    assert [s.t for s in train(d)] == list(range(12, 30))
    assert same(state(d), state(whole))
    assert d.history.loss == whole.history.loss


class Books:
    """A record that only counts."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any]] = []
        self.closed = 0

    def step(self, step: Step) -> None:
        self.rows.append(("step", step.t))

    def score(self, t: int, split: str, score: Score, seconds: float) -> None:
        self.rows.append((split, t))

    def finding(self, finding: Any) -> None:
        self.rows.append(("finding", finding.t))

    def action(self, action: Action) -> None:
        self.rows.append(("action", action.name))

    def checkpoint(self, t: int, parts: Any, state: Any) -> bool:
        self.rows.append(("checkpoint", t))
        return True

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("how", ["end", "break", "error"])
def test_the_record_is_closed_however_the_loop_ends(how: str):
    d, books = descent(Line(), 5), Books()
    if how == "error":
        d.data = lambda index, draw: 1 / 0  # type: ignore[assignment, return-value]
        d.data.__len__ = None  # type: ignore[attr-defined]
        with pytest.raises(ZeroDivisionError):
            list(train(d, books))
    else:
        for _ in train(d, books):
            if how == "break":
                break
    assert books.closed == 1
    assert d.theta.model.training


def test_what_is_written_in_which_order():
    d, books = descent(Line(), 4, cadence=Cadence(score=2, save=2), valid=Line().data("valid"), test=Line().data("test")), Books()
    list(train(d, books))
    assert books.rows == [
        ("step", 0), ("step", 1), ("valid", 2), ("checkpoint", 2),
        ("step", 2), ("step", 3), ("valid", 4), ("test", 4), ("checkpoint", 4),
    ]  # fmt: skip


def test_the_seconds_of_every_score_are_counted_for_the_clock():
    class Slow(Line):
        def score(self, model: nn.Module, data: Data) -> Score:
            time.sleep(0.02)
            return super().score(model, data)

    d, begin = descent(Slow(), 4, cadence=Cadence(score=2), valid=Line().data("valid")), time.perf_counter()
    list(train(d))
    assert 2 * 0.02 <= d.history.scoring <= time.perf_counter() - begin


def test_an_interrupted_run_saves_and_leaves_without_scores():
    d, books = descent(Line(), 10, valid=Line().data("valid")), Books()
    for step in train(d, books):
        d.interrupted = step.t == 5
    assert books.rows[-2:] == [("step", 5), ("checkpoint", 6)]


def test_interrupted_at_the_very_end_is_an_end():
    d, books = descent(Line(), 10, valid=Line().data("valid"), test=Line().data("test")), Books()
    for step in train(d, books):
        d.interrupted = step.t == 9
    assert books.rows[9:] == [("step", 9), ("valid", 10), ("test", 10), ("checkpoint", 10)]


def test_nothing_is_scored_twice_after_the_same_step():
    d, books = descent(Line(), 10, valid=Line().data("valid"), test=Line().data("test")), Books()
    list(train(d, books))
    list(train(d, books))  # a finished run that is resumed
    assert [row for row in books.rows if row[0] in ("valid", "test")] == [("valid", 10), ("test", 10)]
    stopped = poisoned(40, at=(15,), cadence=Cadence(snapshot=10, score=16))
    stopped.valid, stopped.remedies = Line().data("valid"), [find("remedy", "stop")()]
    books = Books()
    list(train(stopped, books))
    assert [row for row in books.rows if row[0] == "valid"] == [("valid", 16)]


def test_checks_look_every_so_often():
    d, looked = descent(Line(), 20), []

    class Looks:
        every, cost = 6, 0.0

        def measure(self, step: Step, *_: object) -> None:
            looked.append(step.t)

        def judge(self, history: Any) -> None:
            assert len(history.loss) == looked[-1] + 1

    d.checks = [Looks()]  # type: ignore[list-item]
    list(train(d))
    assert looked == [5, 11, 17]


def test_keep_shown_makes_the_average_the_weights():
    d = descent(Line(), 20, average="ema")
    list(train(d))
    with d.average.shown(d.theta):
        shown = d.theta.snapshot()
    assert not same(d.theta.snapshot(), shown)
    keep_shown(d)
    assert same(d.theta.snapshot(), shown)


def test_epochs_and_history_are_counted():
    d = descent(Line(), 12)
    steps = list(train(d))
    assert [s.epoch for s in steps] == pytest.approx([(t + 1) * 8 / 48 for t in range(12)])
    assert d.history.loss == [s.loss for s in steps]
    assert d.history.lr == [s.lr for s in steps]
    assert d.history.norm == [s.norm for s in steps]
    assert d.history.last == steps[-1]
    assert d.now() == Now(12, 12, 96, 0, 0)


def test_the_users_own_module_is_trained_in_place():
    model = Line().model(0)
    before = copy.deepcopy(model.state_dict())
    list(train(descent(Line(), 5, model=model)))
    assert not all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# ---- numbers too small to be normal


def flushes() -> bool:
    return (torch.full((1,), 1e-39) * 1.0).item() == 0.0


def test_a_step_flushes_denormals_and_the_caller_has_them_as_before():
    seen: list[bool] = []

    class Looks(Line):
        def losses(self, model: nn.Module, batch: Batch) -> Losses:
            seen.append(flushes())
            return super().losses(model, batch)

    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush")
    for was in (False, True):
        torch.set_flush_denormal(was)
        try:
            outside = [flushes() for _ in train(descent(Looks(), 3))]
            assert outside == [was] * 3
            assert flushes() is was
        finally:
            torch.set_flush_denormal(False)
    assert all(seen)
    assert seen


def test_what_a_bound_left_of_the_gradients_is_in_every_checkpoint():
    class Kept:
        def __init__(self) -> None:
            self.saved: Any = None

        def checkpoint(self, t: int, parts: Any, state: Any) -> bool:
            self.saved = (parts, state)
            return True

        def __getattr__(self, name: str) -> Any:
            return lambda *given: None

    d, kept = descent(Line(), 20), Kept()
    d.controls.clip = 0.05
    for _ in train(d, kept):  # type: ignore[arg-type]
        pass
    again = descent(Line(), 20)
    restore(again, *kept.saved)
    assert d.history.cut
    assert again.history.cut == d.history.cut
