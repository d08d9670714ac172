"""Soup: the best by score are kept, mixed greedily, and never worse on what they were judged by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gradlearn.average.soup import Soup, mean_of
from gradlearn.comeback import bring_back
from gradlearn.errors import InputTrouble
from gradlearn.loop import Cadence, keep_shown, train
from gradlearn.record.record import Record
from gradlearn.symbols import Score
from gradlearn.theta import Theta
from toys import Pictures, descent


class Target:
    """Score: the distance of a vector from a point, lower is better (or its negative, higher)."""

    def __init__(self, higher: bool = False) -> None:
        self.model = nn.Linear(2, 1, bias=False)
        self.theta, self.higher, self.asked = Theta(self.model), higher, 0

    def put(self, *values: float) -> None:
        with torch.no_grad():
            self.model.weight.copy_(torch.tensor([values]))

    def score(self) -> Score:
        self.asked += 1
        value = float(self.model.weight.detach().norm())
        return Score("s", self.higher, -value if self.higher else value, {})


@pytest.mark.parametrize("higher", [False, True])
def test_what_improves_the_mean_goes_in_and_what_does_not_stays_out(higher: bool):
    on = Target(higher)
    soup = Soup(on.theta, size=3)
    for values in ((5.0, 5.0), (1.0, 0.2), (-1.1, 0.2), (1.2, 0.4), (9.0, 0.0)):
        on.put(*values)
        soup.judged(on.theta, on.score())
    kept = [round(float(t[0][:2].norm()), 3) for _, t in soup.kept]
    assert kept == sorted(kept)
    assert len(kept) == 3
    on.put(2.0, 2.0)
    on.asked = 0
    soup.choose(on.theta, on.score)
    assert on.asked <= 4
    assert on.model.weight.tolist() == [[2.0, 2.0]], "theta is as it was"
    with soup.shown(on.theta):  # (1, .2) and (-1.1, .2) mix to (-.05, .2); (1.2, .4) would make it worse
        assert torch.allclose(on.model.weight.detach(), torch.tensor([[-0.05, 0.2]]))
    assert on.model.weight.tolist() == [[2.0, 2.0]]


def test_the_last_weights_are_judged_too():
    on = Target()
    soup = Soup(on.theta)
    on.put(3.0, 0.0)
    soup.judged(on.theta, on.score())
    on.put(0.1, 0.0)
    soup.choose(on.theta, on.score)
    with soup.shown(on.theta):
        assert on.model.weight.tolist() == [[pytest.approx(0.1), 0.0]]


def test_without_any_score_the_last_weights_are_the_soup():
    on = Target()
    soup = Soup(on.theta)
    on.put(4.0, 3.0)
    soup.choose(on.theta, on.score)
    with soup.shown(on.theta):
        assert on.model.weight.tolist() == [[4.0, 3.0]]


def test_a_score_that_is_no_number_is_none():
    on = Target()
    soup = Soup(on.theta)
    on.put(float("nan"), 0.0)
    soup.judged(on.theta, on.score())
    assert soup.kept == []


def test_the_soup_is_made_once():
    on = Target()
    soup = Soup(on.theta)
    on.put(1.0, 0.0)
    soup.choose(on.theta, on.score)
    on.put(0.0, 0.0)
    soup.choose(on.theta, on.score)
    soup.judged(on.theta, on.score())
    with soup.shown(on.theta):
        assert on.model.weight.tolist() == [[1.0, 0.0]]


def test_state_goes_round_with_what_is_kept_and_what_was_made():
    on = Target()
    first, second = Soup(on.theta, size=2), Soup(on.theta, size=2)
    second.load(first.state())
    for values in ((3.0, 0.0), (1.0, 0.0), (2.0, 0.0)):
        on.put(*values)
        first.judged(on.theta, on.score())
        second.load(first.state())
        assert [m for m, _ in first.kept] == [m for m, _ in second.kept]
    first.choose(on.theta, on.score)
    second.load(first.state())
    with first.shown(on.theta):
        a = on.model.weight.clone()
    with second.shown(on.theta):
        assert torch.equal(on.model.weight, a)


def test_counts_and_infinite_masks_are_not_averaged():
    inf = float("inf")
    a = [torch.tensor([1.0, 2.0]), torch.tensor(3), torch.tensor([0.0, -inf])]
    b = [torch.tensor([3.0, 6.0]), torch.tensor(9), torch.tensor([0.0, -inf])]
    mean = mean_of([a, b])
    assert mean[0].tolist() == [2.0, 4.0]
    assert int(mean[1]) == 3
    assert mean[2].tolist() == [0.0, -inf]


def begun() -> object:
    task = Pictures()
    return descent(task, 24, average="soup", cadence=Cadence(snapshot=5, score=3, ring=2), valid=task.data("valid"))


def test_in_a_run_it_is_never_worse_than_the_best_seen_and_resume_is_bit_exact(tmp_path: Path):
    whole = begun()
    list(train(whole))
    scores = [s.value for _, split, s in whole.history.scores if split == "valid"]
    assert len(scores) == 8
    assert scores[-1] <= min(scores[:-1]) + 1e-6, "the mean loss, lower is better"
    (tmp_path / "run").mkdir()
    left = begun()
    for _ in train(left, Record(tmp_path / "run")):
        left.interrupted = left.t == 13
    back = begun()
    record = bring_back(back, tmp_path / "run")
    list(train(back, record))
    assert [s.value for _, _, s in back.history.scores] == [s.value for _, _, s in whole.history.scores]
    for d in (whole, back):
        keep_shown(d)
    assert all(torch.equal(a, b) for a, b in zip(back.theta.snapshot(), whole.theta.snapshot(), strict=True))


def test_none_is_no_size():
    with pytest.raises(InputTrouble, match=r"--soup.size 0: must be at least 1"):
        Soup(Theta(nn.Linear(2, 2)), size=0)
