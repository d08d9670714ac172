"""The objective with penalties: exact in any parts, for any task, over resume; said in one line where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradlearn
from gradlearn.comeback import bring_back
from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.gradient.backprop import Backprop
from gradlearn.loop import train
from gradlearn.penalty import Penalised, penalised, penalties, with_slopes
from gradlearn.plan import Plan
from gradlearn.record.record import Record
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta
from toys import Boxes, Circuit, Of, Pictures, Policy, Tokens, descent


def made(*names: str, **options: Any) -> list[Any]:
    return [find("objective", name)(**options) for name in names]


def test_without_penalties_the_objective_is_itself():
    objective = Of(Tokens(), nn.Linear(1, 1))
    assert penalised(objective, []) is objective  # type: ignore[arg-type]


def test_the_plan_names_them_and_their_options():
    plan = Plan({"penalty": ["l1", "entropy"], "l1.weight": 0.5})
    l1, entropy = penalties(plan)
    assert (type(l1).__name__, l1.weight, type(entropy).__name__, entropy.weight) == ("L1", 0.5, "Entropy", 0.1)
    assert penalties(Plan({})) == []


@pytest.mark.parametrize("toy", [Pictures, Boxes, Tokens, Policy, Circuit])
def test_a_penalty_on_theta_adds_exactly_itself_to_the_loss_of_every_kind_of_task(toy: type):
    """Also where counts are tokens, or zero for some examples."""
    task = toy()
    model = task.model(0).eval()
    batch = task.data("train")(torch.arange(23), 0)
    plain = Of(task, model)
    with torch.no_grad():
        more = float(made("l2", weight=0.3)[0](model))
        a, b = plain(batch), penalised(plain, made("l2", weight=0.3))(batch)  # type: ignore[arg-type]
    assert more > 0
    assert torch.equal(a.count, b.count)
    assert (b.total.sum() / b.count.sum()).item() == pytest.approx((a.total.sum() / a.count.sum()).item() + more, rel=1e-5)


def test_parts_of_a_batch_of_tokens_add_up_to_the_whole():
    task = Tokens()
    model = task.model(0).double()
    batch = task.data("train")(torch.arange(23), 0)
    theta = Theta(model)
    objective = Penalised(Of(task, model), made("l2", "entropy", weight=0.1))  # type: ignore[arg-type]
    whole = Backprop()(objective, theta, batch)
    g = theta.blocks[0].grad.clone()
    for part in (1, 5, 22):
        assert Backprop(part=part)(objective, theta, batch).loss == pytest.approx(whole.loss, rel=1e-12)
        assert torch.allclose(theta.blocks[0].grad, g, rtol=1e-9, atol=1e-14)


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x).mean(1))


@pytest.mark.parametrize("name", ["input_gradient", "jacobian"])
@pytest.mark.parametrize("model", [Attentive(), nn.Sequential(nn.Flatten(), nn.Linear(40, 2)), "gru", "conv"])
def test_what_is_differentiated_twice_goes_through_every_kind_of_layer(name: str, model: Any):
    torch.manual_seed(0)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.head = nn.GRU(8, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.inside(x)[0][:, -1])

    if model == "gru":
        model = Reader()
    elif model == "conv":
        model = nn.Sequential(nn.Conv1d(5, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 2))
    batch = Batch(torch.randn(6, 5, 8), torch.arange(6) % 2, torch.arange(6))

    class Task:
        def __init__(self) -> None:
            self.model, self.data = model, None

        def __call__(self, batch: Batch) -> Losses:
            total = F.cross_entropy(model(batch.x), batch.y, reduction="none")
            return Losses(total, torch.ones(batch.n))

    theta = Theta(model)
    plain = Backprop()(Task(), theta, batch)
    before = theta.blocks[0].grad.clone()
    state = torch.get_rng_state()
    found = Backprop()(Penalised(Task(), made(name, weight=1.0)), theta, batch)
    assert found.finite
    assert found.loss > plain.loss
    assert not torch.equal(theta.blocks[0].grad, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not batch.x.requires_grad


def test_bytes_become_numbers_and_whole_numbers_have_no_slopes():
    picture = torch.randint(256, (3, 4), dtype=torch.uint8)
    batch, leaves = with_slopes(Batch((picture, {"a": torch.ones(3, 2), "b": torch.arange(3)}), None, torch.arange(3)))
    assert [t.dtype for t in leaves] == [torch.float32, torch.float32]
    assert batch.x[0].requires_grad
    assert torch.equal(batch.x[0], picture.float())
    assert batch.x[1]["b"].dtype == torch.int64
    task = Tokens()
    objective = Penalised(Of(task, task.model(0)), made("jacobian"))  # type: ignore[arg-type]
    with pytest.raises(InputTrouble, match="--penalty: the inputs are whole numbers, they have no slopes"):
        objective(task.data("train")(torch.arange(4), 0))


def test_a_task_that_never_calls_its_model_has_no_output():
    model = nn.Linear(2, 2)

    class Inner:
        def __init__(self) -> None:
            self.model, self.data = model, None

        def __call__(self, batch: Batch) -> Losses:
            return Losses((batch.x @ model.weight).square().sum(1), torch.ones(batch.n))

    with pytest.raises(InputTrouble, match="--penalty: the task never calls its model as a whole"):
        Penalised(Inner(), made("entropy"))(Batch(torch.ones(3, 2), None, torch.arange(3)))


def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    return torch.randn(300, 4, generator=g) + 2.0 * F.one_hot(y, 4), y


@pytest.mark.parametrize("penalty", ["l1", ["l1", "entropy"], "spectral,jacobian"])
def test_fit_takes_penalties_and_says_so(penalty: Any):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    run = gradlearn.fit(model, blobs(), penalty=penalty, steps=150)
    assert run.score is not None
    assert run.score.value > 0.8
    chosen = run.settings["choice"]["penalty"]
    assert chosen["value"] == (penalty.split(",") if isinstance(penalty, str) else penalty)
    assert chosen["by"] == "user"


def test_a_strong_l1_makes_weights_small_and_the_logged_loss_has_it():
    sums, first = [], []
    for weight in (1e-8, 0.02):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        begin = sum(p.abs().sum().item() for p in model.parameters() if p.ndim == 2)
        run = gradlearn.fit(model, blobs(), penalty="l1", l1__weight=weight, steps=200, valid=None)
        sums.append(sum(p.abs().sum().item() for p in model.parameters() if p.ndim == 2))
        first.append(run.history["loss"][0] - weight * begin)
    assert sums[1] < 0.5 * sums[0]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"penalty": "spectrl"}, "--penalty spectrl: not known; did you mean 'spectral'"),
        ({"penalty": "cross_entropy"}, "--penalty cross_entropy: not known"),
        ({"l1__weight": 0.1}, "--l1.weight: this run has no 'l1'; choose it with --penalty l1"),
        ({"loss": "l1"}, "loss 'l1' is not known"),
    ],
)
def test_a_penalty_that_cannot_be_is_one_line(given: dict[str, Any], line: str):
    with pytest.raises(InputTrouble, match=line):
        gradlearn.fit(nn.Linear(4, 3), blobs(), steps=5, **given)


def test_the_start_of_distance_comes_back_on_resume_bit_for_bit(tmp_path: Path):
    """Even where the module that resumes has other first weights."""

    def begun(seed: int) -> Any:
        d = descent(Pictures(), 12, seed=seed)
        d.seed = 0
        d.objective = Penalised(d.objective, made("distance", weight=5.0))
        return d

    whole = begun(0)
    list(train(whole))
    (tmp_path / "run").mkdir()
    left = begun(0)
    for _ in train(left, Record(tmp_path / "run")):
        left.interrupted = left.t == 5
    back = begun(1)
    record = bring_back(back, tmp_path / "run")
    assert back.t == 5
    list(train(back, record))
    assert back.history.loss == whole.history.loss
    assert all(torch.equal(a, b) for a, b in zip(back.theta.snapshot(), whole.theta.snapshot(), strict=True))
