"""Labels: flipped ones are counted to a few percent, learned by heart or not; hard clean data and weak models are left in peace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn.symbols import Batch
from gradlearn.watch.labels import PART, Labels, counted, doubted, estimated, outputs
from looks import Looked, blobs, draws, measured, spoken


def trained(x: Tensor, y: Tensor, steps: int, width: int = 64) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, int(y.max()) + 1))
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()
    return model


def flipped(y: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Labels of which so many are another class, and which those are."""
    g = draws(seed)
    where = torch.rand(len(y), generator=g) < share
    return torch.where(where, (y + torch.randint(1, int(y.max()) + 1, y.shape, generator=g)) % (int(y.max()) + 1), y), where


def looked(share: float, steps: int, apart: float = 2.0, classes: int = 5) -> tuple[Looked, Tensor]:
    x, y = blobs(800, classes, 8, apart)
    vx, vy = blobs(400, classes, 8, apart, seed=1)
    (y, where), (vy, _) = flipped(y, share, 2), flipped(vy, share, 3)
    return Looked(x, y, valid=(vx, vy), model=trained(x, y, steps)), where


@pytest.mark.parametrize("steps", [40, 600])
@pytest.mark.parametrize("share", [0.15, 0.3])
def test_the_share_is_told_to_a_few_percent(share: float, steps: int):
    objective, where = looked(share, steps)
    finding = spoken(Labels(), objective)
    assert finding is not None
    assert finding.evidence["kind"] == "label faults"
    assert finding.evidence["share"] == pytest.approx(share, abs=0.07)
    assert len(finding.evidence["examples"]) == 10
    assert where[finding.evidence["examples"]].float().mean() >= 0.8, "the examples named are such"


@pytest.mark.parametrize("steps", [40, 600])
@pytest.mark.parametrize("apart", [2.0, 0.8, 0.5])
def test_clean_labels_are_left_in_peace_however_hard(apart: float, steps: int):
    assert spoken(Labels(), looked(0.0, steps, apart)[0]) is None


def test_labels_of_which_nothing_can_be_known_are_left_in_peace():
    x = torch.randn(600, 8, generator=draws())
    for classes in (2, 5):
        y = torch.randint(0, classes, (600,), generator=draws(1))
        assert spoken(Labels(), Looked(x, y, valid=(x[:200], y[200:400]), model=trained(x, y, 40))) is None


def test_numbers_have_no_labels():
    x = torch.randn(200, 8, generator=draws())
    objective = Looked(x, x[:, :3].clone(), model=nn.Linear(8, 3), loss="mse")
    assert measured(Labels(), objective).measured == {}


def test_counts_are_those_of_the_quarters_and_the_doubted_come_first():
    said = torch.tensor([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.4, 0.3, 0.3]]).repeat(10, 1).double()
    labels = torch.zeros(40, dtype=torch.int64)
    labels[0], labels[1], labels[4] = 2, 1, 2
    rows = counted("valid", said, labels)
    assert (rows["valid_sure"], rows["valid_wrong"], rows["valid_after"]) == (10.0, 2.0, 1.0)
    assert set(list(doubted(said, labels, torch.arange(100, 140)).values())[:3]) == {100.0, 101.0, 104.0}


def test_a_predictor_whose_second_guess_is_right_is_weak():
    rows = {"valid_sure": 200.0, "valid_wrong": 60.0, "valid_after": 62.0, "valid_blind": 0.9, "valid_rank": 0.5}
    assert estimated(rows, "valid") == 0.3
    assert estimated({**rows, "valid_rank": 0.2}, "valid") is None
    assert estimated({**rows, "valid_after": 120.0}, "valid") is None
    assert estimated({**rows, "valid_wrong": 3.0}, "valid") == 0.0


def test_who_errs_in_half_of_what_it_is_surest_of_tells_nothing_of_labels():
    rows = {"train_sure": 50.0, "train_wrong": 30.0, "train_after": 32.0, "train_blind": 0.88, "train_rank": 0.45}
    assert estimated(rows, "train") is None
    assert estimated(rows | {"train_wrong": 15.0, "train_after": 16.0}, "train") == 0.3


def test_no_more_examples_than_a_part_pass_through_the_model_at_once():
    x, y = blobs(430, 5, 8, 2.0)
    model, seen = trained(x, y, 5), []
    objective: Any = Looked(x, y, valid=(x[:250], y[:250]), model=model)
    whole = model(x).softmax(1).double()
    model.register_forward_hook(lambda *given: seen.append(len(given[2])))
    said, labels = outputs(objective, Batch(x, y, torch.arange(430), -1))
    assert seen == [PART] * 4 + [30]
    assert labels is not None
    assert torch.equal(labels, y)
    torch.testing.assert_close(said, whole.detach(), rtol=1e-5, atol=1e-6)
