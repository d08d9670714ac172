"""Rewind: before the onset, at half the rate, which comes back; harder where it comes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from gradlearn import chance
from gradlearn.care import perform
from gradlearn.errors import InputTrouble
from gradlearn.loop import Cadence, train
from gradlearn.optimizer import pack
from gradlearn.remedy.rewind import PATIENCE, Rewind, onset
from gradlearn.symbols import Action, Controls, Finding, History, Step
from gradlearn.watch.divergence import Divergence
from gradlearn.watch.jump import Jump
from gradlearn.watch.unstable import Unstable
from toys import Line, descent


def told(losses: list[float], actions: tuple[Action, ...] = ()) -> History:
    history = History()
    for t, loss in enumerate(losses):
        history.add(Step(t, loss, 1.0, 0.1, 8, 0.0, loss == loss, 0.0))
    history.actions += actions
    return history


def flat(n: int, level: float = 1.0) -> list[float]:
    return [level * (1.0 + 0.05 * ((37 * t) % 11 - 5) / 5) for t in range(n)]


def diverged(t: int, name: str = "diverged", **evidence: Any) -> Finding:
    return Finding(t, name, "alarm", f"step {t}: trouble", "cause", "do", evidence)


def rewound(t: int, to: int, before: float, after: float) -> tuple[Action, Action]:
    return Action(t, "rewind", "why", "t", t + 1.0, float(to)), Action(t, "turn", "why", "rate", before, after)


def test_the_onset_is_where_the_loss_rose_and_stayed():
    losses = [*flat(120), 9.0, *flat(30), *flat(20, 5.0)]
    assert onset(diverged(len(losses) - 1, window=20), told(losses)) in range(142, 147)
    assert onset(diverged(170, onset=133), told(losses)) == 130, "the check knows best"


def test_it_goes_back_to_before_the_onset():
    losses = flat(150) + flat(20, 5.0)
    back, turn, *_ = Rewind()(diverged(169, window=20), told(losses), Controls(end=1000)) or ()
    assert back.name == "rewind"
    assert 140 <= (back.after or 0) <= 147
    assert (turn.dial, turn.before, turn.after) == ("rate", 1.0, 0.5)


def test_where_it_comes_again_the_rate_falls_harder_and_further_back():
    losses = flat(150) + flat(15, 5.0) + flat(2) + flat(15, 5.0)
    first = rewound(164, 100, 1.0, 0.5)
    back, turn, *_ = Rewind()(diverged(181, window=10), told(losses, first), Controls(rate=0.5, end=1000)) or ()
    assert turn.after == pytest.approx(0.5**5)
    second = rewound(181, 100, 0.5, 0.125)
    losses += flat(2) + flat(15, 5.0)
    back, turn, *_ = Rewind()(diverged(198, window=10), told(losses, first + second), Controls(rate=0.125, end=1000)) or ()
    assert turn.after == pytest.approx(0.125 / 2**6)
    assert (back.after or 0) > 100
    losses[182:184] = [5.0, 5.0]
    back, turn, *_ = Rewind()(diverged(198, window=10), told(losses, first + second), Controls(rate=0.125, end=1000)) or ()
    assert (back.after or 0) < 100, "what is kept there may be bad itself"


def test_where_the_loss_is_high_at_good_weights_the_rate_is_not_to_blame():
    losses = flat(150) + flat(15, 5.0) + flat(10, 5.0)
    _, turn, *_ = Rewind()(diverged(174, window=10), told(losses, rewound(164, 100, 1.0, 0.5)), Controls(rate=0.5, end=1000)) or ()
    assert turn.after == 1.0


def test_after_long_calm_trouble_is_new():
    losses = flat(400) + flat(15, 5.0)
    _, turn, *_ = Rewind()(diverged(414, window=10), told(losses, rewound(164, 100, 1.0, 0.5)), Controls(rate=1.0, end=1000)) or ()
    assert turn.after == 0.5


def test_a_raise_that_went_wrong_is_taken_back():
    warm = Action(150, "warm", "why", "rate", 1.0, 10.0)
    losses = flat(155) + flat(15, 5.0)
    _, turn, *_ = Rewind()(diverged(169, window=10), told(losses, (warm,)), Controls(rate=10.0, end=1000)) or ()
    assert (turn.name, turn.before) == ("revert", 10.0)
    assert turn.after == pytest.approx(10**0.5)
    restart = Action(150, "restart", "why", "rate", 1.0, 2.5)
    _, turn, *_ = Rewind()(diverged(169, window=10), told(losses, (restart,)), Controls(rate=2.5, end=1000)) or ()
    assert turn.after == 1.0


def ramp(history: History, controls: Controls, until: int) -> list[float]:
    """The dial at each snapshot, every 50 steps, while all is well."""
    seen = []
    while len(history.loss) < until:
        for t in range(len(history.loss), len(history.loss) + 50):
            history.add(Step(t, 1.0, 1.0, 0.1, 8, 0.0, True, 0.0))
        for action in Rewind().onward(history, controls):
            assert action.name == "recover"
            controls.rate = action.after or 0.0
            history.actions.append(action)
        seen.append(controls.rate)
    return seen


def test_the_rate_comes_back_whole_in_a_twentieth_of_the_run_after_one_rewind():
    history, controls = told(flat(200), rewound(199, 150, 0.8, 0.4)), Controls(rate=0.4, end=4000)
    seen = ramp(history, controls, 600)
    assert seen == sorted(seen)
    assert 0.4 < seen[1] < 0.8
    assert seen[4] == pytest.approx(0.8)
    assert seen[-1] == pytest.approx(0.8)


def test_it_comes_back_to_a_sixteenth_of_what_failed_twice():
    actions = rewound(180, 150, 1.0, 0.5) + rewound(199, 150, 0.5, 0.01)
    history, controls = told(flat(200), actions), Controls(rate=0.01, end=2000)
    assert ramp(history, controls, 600)[-1] == pytest.approx(0.5 / 16)


def test_it_does_not_come_back_while_something_is_said_or_where_another_has_turned_it():
    history, controls = told(flat(200), rewound(199, 150, 1.0, 0.5)), Controls(rate=0.5, end=1000)
    history.findings.append(Finding(230, "unstable", "warn", "a", "b", "c", {}))
    assert ramp(history, controls, 400)[-1] == 0.5
    history = told(flat(200), (*rewound(199, 150, 1.0, 0.5), Action(205, "turn", "grow", "rate", 0.5, 0.7)))
    assert ramp(history, Controls(rate=0.7, end=1000), 400)[-1] == 0.7


def test_a_run_that_stands_where_it_began_goes_back_to_its_first_weights_and_one_that_relapses_only_cools():
    back, turn, *_ = Rewind()(diverged(199, "unstable", kind="lost"), told(flat(200)), Controls(end=1000)) or ()
    assert (back.after, turn.after) == (0.0, 0.5)
    (turn,) = Rewind()(diverged(199, "unstable", kind="relapses"), told(flat(200)), Controls(end=1000)) or ()
    assert (turn.dial, turn.after) == ("rate", 0.5)


def test_the_first_weights_stay_in_the_ring_until_something_was_learned():
    d = descent(Line(), 200, cadence=Cadence(snapshot=5), checks=())
    d.history.loss += [1.0] * 60
    d.history.applied += [True] * 60
    for t in (0, 60, 65, 70, 75):
        d.t = t
        d.remember()
    assert [s.t for s in d.ring] == [0, 65, 70, 75]
    d.history.loss += [0.5] * 9
    d.t = 80
    d.remember()
    assert [s.t for s in d.ring] == [70, 75, 80]


def test_a_spoilt_memory_of_the_update_is_taken_from_the_snapshot_and_theta_kept():
    evidence = {"kind": "update state", "onset": 149, "slows": True}
    (action,) = Rewind()(diverged(199, "precision fault", **evidence), told(flat(200)), Controls(end=1000)) or ()
    assert (action.name, action.after) == ("restore", 149)
    (action,) = Rewind()(diverged(199, "precision fault", **evidence), told(flat(190) + flat(10, 9.0)), Controls(end=1000)) or ()
    assert action.name == "rewind"
    for other in ({"kind": "update state", "onset": 149, "slows": False}, {"kind": "running statistics", "onset": 149}):
        (action,) = Rewind()(diverged(199, "precision fault", **other), told(flat(200)), Controls(end=1000)) or ()
        assert (action.name, action.after) == ("rewind", 149), (
            "theta, or what it is scored with, has gone elsewhere; the rate is right"
        )
    assert Rewind()(diverged(199, "precision fault", kind="range"), told(flat(200)), Controls(end=1000)) is None


def test_restore_brings_back_the_update_bitwise_and_moves_nothing_else():
    d = descent(Line(), 40, cadence=Cadence(snapshot=5))
    for _ in train(d):
        if d.t == 10:
            kept = {k: v.clone() for k, v in pack(d.update)[0].items()}
        if d.t == 13:
            break
    theta = [t.clone() for t in d.theta.snapshot()]
    perform(d, Action(12, "restore", "why", "t", None, 12.0))
    assert all(torch.equal(a, b) for a, b in zip(theta, d.theta.snapshot(), strict=True))
    assert all(torch.equal(v, kept[k]) for k, v in pack(d.update)[0].items())
    assert d.history.actions == [Action(12, "restore", "why", "t", 13.0, 10.0)]
    assert [s.t for s in d.ring] == [0, 5, 10]


def test_a_run_whose_last_step_broke_its_weights_ends_with_good_ones():
    d = descent(Line(), 30, cadence=Cadence(snapshot=10))
    for step in train(d):
        if step.t == 28:
            for state in d.update.state.values():  # pyright: ignore[reportAttributeAccessIssue]
                state["exp_avg_sq"].fill_(float("nan"))
    assert d.finite()
    assert [a.name for a in d.history.actions] == ["rewind"]
    assert d.history.actions[0].after == 20.0


@pytest.mark.parametrize("back", [0.0, -1.0, 1.5])
def test_options_out_of_range_are_refused(back: float):
    with pytest.raises(InputTrouble, match="--rewind"):
        Rewind(back=back)


def test_a_rate_that_leapt_up_is_brought_back_and_one_that_is_down_again_is_left():
    def answered(rates: list[float]) -> tuple[Sequence[Action] | None, History]:
        history = History()
        for t, lr in enumerate(rates):
            history.add(Step(t, 1.0 if t < 100 else 5.0, 1.0, lr, 8, 0.0, True, 0.0))
        found = Finding(len(rates) - 1, "unstable", "warn", "", "", "", {"kind": "jump", "onset": 100})
        return Rewind()(found, history, Controls(end=400)), history

    lasting, _ = answered([0.1] * 100 + [10.0] * 12)
    assert lasting is not None
    assert [(a.name, a.dial) for a in lasting] == [("rewind", "t"), ("revert", "rate"), ("guard", "most")]
    assert lasting[1].after == pytest.approx(0.01)
    over, _ = answered([0.1] * 100 + [10.0] + [0.1] * 11)
    assert over is not None
    assert [a.name for a in over] == ["rewind"]
    usual, _ = answered([0.1] * 112)
    assert usual is not None
    assert [(a.name, a.after) for a in usual][1] == ("turn", 0.5)
    restart, _ = answered([1.0] * 50 + [1e-6] * 50 + [1.0] * 12)
    assert restart is not None
    assert restart[1].after == pytest.approx(0.1), "a restart from next to nothing is meant so"


def test_the_dial_comes_back_where_the_rate_falls_by_itself():
    history, remedy = History(), Rewind()
    for t in range(160):
        lr = 0.1 if t < 100 else 10.0 if t < 110 else 0.1 if t < 130 else 0.001
        history.add(Step(t, 1.0, 1.0, lr, 8, 0.0, True, 0.0))
    history.actions += [Action(109, "rewind", "", "t", 110.0, 90.0), Action(109, "revert", "", "rate", 1.0, 0.01)]
    (back,) = remedy.onward(history, Controls(end=400, rate=0.01))
    assert (back.name, back.after) == ("recover", 1.0)


def wrong_labels(steps: int, bad: range, **more: Any) -> Any:
    """A line is learned; some batches have other targets."""
    d = descent(Line(), steps, update="adamw", checks=("finite", "jump"), remedies=("skip", "rewind", "stop"), **more)
    data, keys = d.data, {chance.key(d.seed, "batch", t) for t in bad}

    class Spoilt:
        def __len__(self) -> int:
            return len(data)

        def __call__(self, index: Any, draw: int) -> Any:
            batch = data(index, draw)
            return batch._replace(y=batch.y + 50.0) if draw in keys else batch

    d.data = d.objective.data = Spoilt()
    for _ in train(d):
        pass
    return d


def test_after_a_rewind_batches_that_are_wrong_are_left_out_and_the_rate_is_what_it_was():
    d = wrong_labels(300, range(150, 175))
    h = d.history
    assert [a.name for a in h.actions] == ["rewind", "turn", "guard", "spare", "recover"]
    back = h.actions[0].t
    assert h.applied[back + 1 : 175] == [False] * (174 - back), "no step is taken with them"
    assert all(h.applied[:back])
    assert all(h.applied[175:])
    assert (h.actions[3].after, d.controls.rate, d.controls.most) == (174 - back, 1.0, 0.0)
    assert not any(f.name == "non-finite" for f in h.findings)
    assert max(h.loss[176:186]) < min(h.loss[150:170]), "weights of before"


def test_where_all_batches_are_other_ones_from_now_on_they_are_learned_from():
    d = wrong_labels(400, range(150, 400))
    spare = next(a for a in d.history.actions if a.name == "spare")
    assert spare.after == 0.0
    assert "taken as they come" in spare.why
    left_out = sum(not applied for applied in d.history.applied)
    assert PATIENCE <= left_out < PATIENCE + 10
    assert d.controls.most == 0.0
    assert d.history.loss[-1] < d.history.loss[200]


def test_without_enough_to_compare_with_nothing_is_left_out():
    found = diverged(30, onset=8)
    assert "guard" not in [a.name for a in Rewind()(found, told(flat(8) + flat(23, 9.0)), Controls(end=1000)) or ()]
    blocked = Finding(169, "non-finite", "alarm", "", "", "", {"in_a_row": 3})
    assert "guard" not in [a.name for a in Rewind()(blocked, told(flat(170)), Controls(end=1000)) or ()]


def test_nobody_takes_batches_that_were_left_out_for_the_run():
    """Losses of good weights on wrong batches: neither a jump nor a divergence of the run."""
    history = told(flat(100))
    for t in range(100, 140):
        out = t < 125
        history.add(Step(t, 9.0 if out else 1.0, 1.0, 0.1, 8, 0.0, not out, 0.0))
        for check in (Divergence(), Jump(), Unstable()):
            if (t + 1) % check.every == 0:
                assert check.judge(history) is None, (t, check)
