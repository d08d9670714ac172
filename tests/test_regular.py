"""The dials of regularisation: neutral ones change nothing, others do what their formulas say, a resume finds them as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.care import perform
from gradlearn.comeback import bring_back
from gradlearn.learn import planned, task_of
from gradlearn.loop import Descent, train
from gradlearn.plan import Plan
from gradlearn.record.record import Record
from gradlearn.regular import Regular, mixed, settle, ways
from gradlearn.symbols import Action, Batch, Controls

X = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32))
Y = torch.from_numpy(np.random.default_rng(1).integers(0, 3, 40))
VALID = (X.flip(0) + 0.1, Y)


def net(p: float = 0.0, outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(p), nn.Linear(32, outputs))


def made(model: nn.Module | None = None, data: Any = (X, Y), loss: Any = "cross_entropy", **user: Any) -> Descent:
    """A descent as `fit` makes it."""
    given = {"steps": 60, "batch": 8, "score_every": 5} | user
    task = task_of(net() if model is None else model, data, loss, VALID if loss == "cross_entropy" else None, given, None, 0)
    return planned(task, Plan({k.replace("__", "."): v for k, v in given.items()}), 0.0)[0]


def batch(n: int = 8, draw: int = 3) -> Batch:
    return Batch(X[:n], Y[:n], torch.arange(n), draw)


def weights(d: Descent) -> Tensor:
    return torch.cat([b.flat for b in d.theta.blocks])


def turn(d: Descent, dial: str, value: float) -> None:
    perform(d, Action(d.t, "turn", "a test", dial, getattr(d.controls, dial), value))


def test_neutral_dials_are_the_tasks_own_losses_and_a_plain_step():
    assert Controls().plain
    d = made()
    own, ours = d.task.losses(d.theta.model, batch()), d.objective(batch())
    assert torch.equal(own.total, ours.total)
    assert torch.equal(own.total, Regular(d.task, d.theta.model, d.data)(batch(), Controls()).total)
    for dial in ("dropout", "smooth", "mix", "noise"):
        controls = Controls()
        setattr(controls, dial, 0.1)
        assert not controls.plain


def test_the_objective_obeys_the_dials_of_its_descent():
    d = made()
    before = d.objective(batch()).total
    turn(d, "smooth", 0.2)
    assert not torch.equal(d.objective(batch()).total, before)
    turn(d, "smooth", 0.0)
    assert torch.equal(d.objective(batch()).total, before)


def test_decay_is_a_factor_on_each_groups_own_and_goes_back_bit_for_bit():
    d = made(update="adamw", adamw__weight_decay=0.07)
    own = [g["weight_decay"] for g in d.update.param_groups]
    assert sorted(own) == [0.0, 0.07]
    turn(d, "decay", 10.0)
    turn(d, "decay", 30.0)
    assert [g["weight_decay"] for g in d.update.param_groups] == [w * 30.0 for w in own]
    turn(d, "decay", 1.0)
    assert [g["weight_decay"] for g in d.update.param_groups] == own


def test_a_rewind_does_not_take_the_decay_back():
    d = made(update="adamw", adamw__weight_decay=0.05)
    d.remember()
    turn(d, "decay", 10.0)
    perform(d, Action(d.t, "rewind", "a test"))
    assert max(g["weight_decay"] for g in d.update.param_groups) == pytest.approx(0.5)


def test_neutral_decay_leaves_the_groups_as_they_are():
    d = made()
    settle(Controls(), d.update, d.data)
    assert all("initial_decay" not in group for group in d.update.param_groups)


def test_dropout_is_raised_inside_and_as_it_was_outside():
    model = net(0.2)
    d = made(model)
    seen: list[Any] = []
    layer = next(m for m in model.modules() if isinstance(m, nn.Dropout))
    layer.register_forward_hook(lambda m, *_: seen.append(m.p))
    Regular(d.task, model, d.data)(batch(), Controls(dropout=0.5))
    assert seen == [pytest.approx(0.6)]
    assert layer.p == 0.2


def test_smoothing_is_the_losss_own():
    d = made(cross_entropy__label_smoothing=0.1)
    ours = Regular(d.task, d.theta.model, d.data)(batch(), Controls(smooth=0.2)).total
    oracle = F.cross_entropy(d.theta.model(X[:8]), Y[:8], reduction="none", label_smoothing=1 - 0.9 * 0.8)
    torch.testing.assert_close(ours, oracle)
    assert d.task.loss.label_smoothing == 0.1  # pyright: ignore[reportAttributeAccessIssue]


def draws(n: int, draw: int, alpha: float) -> tuple[Tensor, Tensor]:
    g = np.random.Generator(np.random.Philox(key=chance.key(draw, "mix")))
    return torch.from_numpy(g.permutation(n)), torch.from_numpy(g.beta(alpha, alpha, n)).float()


def test_mixup_of_classes_is_the_mix_of_two_losses():
    d = made()
    ours = mixed(d.task, d.theta.model, batch(), 0.4)
    perm, lam = draws(8, 3, 0.4)
    output = d.theta.model(lam[:, None] * X[:8] + (1 - lam[:, None]) * X[:8][perm])
    one, other = (F.cross_entropy(output, y, reduction="none") for y in (Y[:8], Y[:8][perm]))
    torch.testing.assert_close(ours.total, lam * one + (1 - lam) * other)
    torch.testing.assert_close(ours.count, torch.ones(8))


def test_mixup_of_numbers_mixes_the_targets():
    target = X[:, :1] * 2
    d = made(net(outputs=1), (X, target), "mse")
    b = Batch(X[:8], target[:8], torch.arange(8), 5)
    perm, lam = draws(8, 5, 1.0)
    mix = lambda t: lam[:, None] * t + (1 - lam[:, None]) * t[perm]  # noqa: E731
    torch.testing.assert_close(
        mixed(d.task, d.theta.model, b, 1.0).total, (d.theta.model(mix(X[:8])) - mix(target[:8])).square().sum(1)
    )


def test_the_same_draw_is_the_same_noise_and_mix_and_another_is_another():
    d = made()
    regular = Regular(d.task, d.theta.model, d.data)
    for controls in (Controls(mix=0.5), Controls(noise=0.3)):
        first, again, other = (regular(batch(draw=k), controls).total for k in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_noise_is_relative_to_each_columns_spread():
    wide = X * torch.tensor([1.0, 100.0, 1.0, 1.0, 1.0, 0.0])
    d = made(data=(wide, Y))
    regular = Regular(d.task, d.theta.model, d.data)
    torch.testing.assert_close(regular.spread()[0], d.data(torch.arange(40), -1).x.std(0, correction=0))
    assert regular.spread()[0][5] == 0.0


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.embedding(x).mean(1))


def test_ways_are_what_update_module_loss_and_data_have_room_for():
    def found(d: Descent) -> set[str]:
        return set(ways(d.task, d.theta.model, d.update, d.data))

    assert found(made()) == {"decay", "dropout", "mix", "smooth"}
    plain = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
    assert found(made(plain, (X, X[:, :1]), "mse")) == {"decay", "mix"}
    assert found(made(adamw__weight_decay=0.0)) == {"dropout", "mix", "smooth"}
    whole = lambda output, target: F.cross_entropy(output, target)  # noqa: E731
    assert found(made(loss=whole)) == {"decay", "dropout"}


def test_numbers_of_words_are_not_mixed():
    words = Y[:, None].repeat(1, 3)
    task = task_of(Reader(), (words, Y), "cross_entropy", None, {}, None, 0)
    d = planned(task, Plan({"steps": 10}), 0.0)[0]
    assert set(ways(d.task, d.theta.model, d.update, d.data)) == {"decay", "smooth"}


def test_decay_stays_compiled_and_is_the_eager_step_to_rounding():
    ends = []
    for compiled in ("on", "off"):
        d = made(compile=compiled, act=False, average="plain")
        for step in train(d):
            if step.t == 9:
                turn(d, "decay", 60.0)
                assert d.program is None or d.program.fits(d)
        ends.append(weights(d).clone())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-3, atol=1e-5)


def test_other_dials_leave_the_program():
    d = made(compile="on")
    assert d.program is not None
    for dial, value in (("mix", 0.2), ("dropout", 0.2), ("smooth", 0.1), ("noise", 0.1)):
        turn(d, dial, value)
        assert not d.program.fits(d)
        turn(d, dial, 0.0)
        assert d.program.fits(d)


def test_a_resume_tells_the_data_their_strength(tmp_path: Path):
    d = made()
    d.data.strength = 1.0  # type: ignore[attr-defined]  # as pictures have it
    for step in train(d, Record(tmp_path)):
        if step.t == 5:
            turn(d, "augment", 2.0)
            assert d.data.strength == 2.0  # type: ignore[attr-defined]
        d.interrupted = step.t == 8
    d = made()
    d.data.strength = 1.0  # type: ignore[attr-defined]
    bring_back(d, tmp_path).close()
    assert (d.t, d.controls.augment, d.data.strength) == (9, 2.0, 2.0)  # type: ignore[attr-defined]


def test_strength_is_a_factor_on_the_shift_of_pictures():
    from gradlearn.data.augment import Augment
    from gradlearn.data.drawn import PictureData
    from gradlearn.tasks.images import Images

    pictures = Images.read(None, Plan({"seed": 0})).pictures
    rows = pictures.split["train"][:6]
    one, two = (PictureData(pictures, rows, Augment(shift=shift)) for shift in (1, 2))
    one.strength = 2.0
    index = torch.arange(6)
    assert torch.equal(one(index, 7).x, two(index, 7).x)
    one.strength = 1.0
    assert not torch.equal(one(index, 7).x, two(index, 7).x)


def run_of(folder: Path, stop: int = 0, compiled: str = "off") -> Descent:
    """A run that learns by heart, broken off after so many steps."""
    folder.mkdir()
    d = made(compile=compiled, lr=0.05)
    for step in train(d, Record(folder)):
        d.interrupted = step.t + 1 == stop
    return d


@pytest.mark.parametrize("compiled", ["off", "on"])
def test_a_regularised_run_that_is_resumed_is_the_whole_run_bit_for_bit(compiled: str, tmp_path: Path):
    whole = run_of(tmp_path / "whole", compiled=compiled)
    turned = [a.t for a in whole.history.actions if a.name == "turn" and a.dial == "dropout"]
    assert len(turned) > 1
    assert whole.best is not None
    for k in sorted({4, turned[0] + 1, turned[1] + 3, 58}):
        run_of(tmp_path / f"{k}", k, compiled)
        d = made(compile=compiled, lr=0.05)
        record = bring_back(d, tmp_path / f"{k}")
        assert d.t == k
        list(train(d, record))
        assert torch.equal(weights(d), weights(whole)), k
        assert d.controls == whole.controls
        assert d.history.actions == whole.history.actions
        assert d.history.scores == whole.history.scores
        assert d.best is not None
        assert (d.best.t, d.best.chosen) == (whole.best.t, whole.best.chosen)
        assert all(map(torch.equal, d.best.theta, whole.best.theta))
