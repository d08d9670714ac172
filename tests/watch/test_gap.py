"""Gap: speaks when the validation loss has turned for good, remarks a gap, and is deaf to noise and to what still improves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradlearn
from gradlearn.symbols import Finding, History
from gradlearn.watch.gap import Gap, told
from looks import blobs


def heard(history: History) -> list[Finding]:
    """What is said as the looks come in, one after the other."""
    said: list[Finding] = []
    rows, losses = history.scores, history.loss
    for t in sorted({row[0] for row in rows}):
        so_far = History()
        so_far.loss, so_far.scores, so_far.measured, so_far.findings = (
            losses[:t],
            [r for r in rows if r[0] <= t],
            history.measured,
            said,
        )
        finding = Gap().judge(so_far)
        said = [*said, *([finding] if finding else [])]
    return said


def levels(looks: list[tuple[float, float, float]]) -> list[str]:
    return [f"{f.level} {f.name}" for f in heard(told(looks))]


def turned(rise: float, accuracy: float = 0.0, drift: float = 0.0) -> list[tuple[float, float, float]]:
    """Training loss falls; validation loss falls to 1 at look 6, then rises in a straight line by so much in all."""
    valid = [2.2 - 0.2 * k if k < 6 else 1.0 + rise * (k - 6) / 13 for k in range(20)]
    return [(1.8 * 0.85**k, v, accuracy and accuracy + drift * k) for k, v in enumerate(valid)]


def test_a_loss_that_turns_is_said_once_with_its_numbers():
    found = [f for f in heard(told(turned(1.0))) if f.level == "warn"]
    assert len(found) == 1
    assert found[0].evidence["t_best"] == 70
    assert found[0].evidence["best"] == pytest.approx(1.0, abs=0.08)
    assert found[0].evidence["gap_share"] == pytest.approx(found[0].evidence["gap"] / found[0].evidence["now"])
    assert found[0].t == len(told(turned(1.0)[: found[0].t // 10 + 1]).loss) - 1
    assert f"step {found[0].t}:" in found[0].what


@pytest.mark.parametrize(("rise", "speaks"), [(0.1, False), (0.18, False), (0.5, True), (2.0, True)])
def test_the_rise_must_be_large(rise: float, speaks: bool):
    assert ("warn overfit" in levels(turned(rise))) is speaks


def test_half_the_rise_is_enough_where_the_examples_are_known_by_heart():
    rows = [(train * 0.1, valid, a) for train, valid, a in turned(0.24)]
    assert "warn overfit" in levels(rows)
    assert "warn overfit" not in levels([(train, valid, 0.8) for train, valid, _ in rows])


def test_a_score_that_still_improves_is_no_overfit_unless_the_loss_runs_away():
    assert "warn overfit" in levels(turned(0.6, 0.8))
    assert "warn overfit" not in levels(turned(0.6, 0.6, 0.01))
    assert "warn overfit" in levels(turned(2.0, 0.6, 0.01))


def test_noise_is_no_turn():
    draws = torch.Generator().manual_seed(0)
    for _ in range(20):
        jitter = 0.2 * torch.rand(20, generator=draws)
        assert "warn overfit" not in levels([(0.5 * 0.9**k, 0.8 + j.item(), 0.0) for k, j in enumerate(jitter)])


def test_a_loss_that_rises_on_both_sides_is_not_this_checks():
    assert levels([(0.5 + 0.1 * k, 0.6 + 0.1 * k, 0.0) for k in range(20)]) == []


def test_a_wide_gap_is_a_remark():
    assert levels([(0.9 * 0.7**k, 0.5 + 0.5 * 0.9**k, 0.0) for k in range(20)]) == ["info overfit"]


def test_no_gap_with_much_left_is_a_remark():
    assert levels([(2.0 if k == 0 else 1.8, 2.0 if k == 0 else 1.81, 0.0) for k in range(20)]) == ["info underfit"]


def test_a_network_on_few_examples_is_heard_and_one_on_many_is_not():
    def names(n: int, apart: float) -> set[str]:
        torch.manual_seed(0)
        x, y = blobs(n, 3, 20, apart)
        model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 3))
        run = gradlearn.fit(
            model,
            (x, y),
            valid=blobs(600, 3, 20, apart, 1),
            steps=400,
            lr=5e-3,
            batch=16,
            update="adamw",
            watch=["gap"],
            act=False,
            compile="off",
        )
        return {f.name for f in run.findings if f.level == "warn"}

    assert names(40, 0.3) == {"overfit"}
    assert names(2000, 1.0) == set()
