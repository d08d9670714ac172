"""The gradient of each example is autograd's of that example alone, whatever the layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradlearn import chance
from gradlearn.curvature.example_grads import ExampleGrads, meets
from gradlearn.errors import InputTrouble
from gradlearn.objective.cross_entropy import CrossEntropy
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta


class Of:
    data = None

    def __init__(self, model: nn.Module, losses: Callable[[nn.Module, Batch], Losses] | None = None) -> None:
        self.model, self.losses = model, losses

    def __call__(self, batch: Batch) -> Losses:
        return self.losses(self.model, batch) if self.losses else CrossEntropy()(self.model(batch.x), batch.y)


class Last(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.mixer, self.head = kind(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixer(x)[0][:, -1])


class Look(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixer(x, x, x, need_weights=False)[0].mean(1))


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)), "vmap"),
    "convolution": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), "vmap"),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(4), nn.Flatten(), nn.Linear(12, 3)), "vmap"),
    "BatchNorm, evaluating": (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(12, 3)).eval(), "vmap"),
    "attention": (Look, "vmap"),
    "GRU": (lambda: Last(nn.GRU), "one by one"),
    "RNN": (lambda: Last(nn.RNN), "one by one"),
    "LSTM": (lambda: Last(nn.LSTM), "vmap"),
}


def batch_of(n: int = 7) -> Batch:
    g = torch.Generator().manual_seed(2)
    return Batch(torch.randn(n, 3, 4, generator=g), torch.arange(n) % 3, torch.arange(n), 4)


def all_of(grads: ExampleGrads, objective: Of, theta: Theta, batch: Batch) -> tuple[Tensor, Tensor]:
    with chance.preserved():
        pieces = list(grads(objective, theta, batch))
    return torch.cat([G for G, _ in pieces]), torch.cat([losses.total for _, losses in pieces])


@pytest.mark.parametrize("part", [0, 1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_autograds_gradient_of_one_example(name: str, part: int, recwarn: pytest.WarningsRecorder):
    torch.manual_seed(0)
    make, way = MODELS[name]
    objective, batch = Of(make()), batch_of()
    theta, grads = Theta(objective.model), ExampleGrads(part)
    G, totals = all_of(grads, objective, theta, batch)
    assert grads.way == way
    assert bool(grads.note) == (way != "vmap")
    params = [m.param for m in theta.members]
    for i, one in enumerate(batch.pieces(1)):
        total = objective(one).total.sum()
        true = torch.cat([g.flatten() for g in torch.autograd.grad(total, params)])
        assert torch.allclose(G[i], true, rtol=1e-4, atol=1e-6)
        assert float(totals[i]) == pytest.approx(total.item(), rel=1e-5)
    assert [str(w.message) for w in recwarn.list] == []


def test_where_examples_meet_the_rows_still_add_up_to_the_gradient_of_the_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))
    objective, batch = Of(model), batch_of()
    theta, grads = Theta(model), ExampleGrads(3)
    assert meets(model)
    G, _ = all_of(grads, objective, theta, batch)
    assert grads.way == "rows of the Jacobian"
    assert model[2].num_batches_tracked == 1
    true = torch.autograd.grad(objective(batch).total.sum(), [m.param for m in theta.members])
    assert torch.allclose(G.sum(0), torch.cat([g.flatten() for g in true]), rtol=1e-4, atol=1e-5)
    assert not meets(model.eval())
    assert meets(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)).eval())


def test_dropout_differs_from_example_to_example_and_is_the_same_for_the_same_draw():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3))
    objective, theta = Of(model), Theta(model)
    same = batch_of()._replace(x=torch.ones(7, 3, 4), y=torch.zeros(7, dtype=torch.int64))
    G, _ = all_of(ExampleGrads(), objective, theta, same)
    assert not torch.equal(G[0], G[1])
    assert torch.equal(G, all_of(ExampleGrads(), objective, theta, same)[0])
    assert not torch.equal(G, all_of(ExampleGrads(), objective, theta, same._replace(draw=5))[0])


def test_inputs_of_several_parts_and_counts_are_taken_apart():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a * self.w).sum(1) * b

    def losses(model: nn.Module, batch: Batch) -> Losses:
        out = model(*batch.x) if isinstance(batch.x, tuple) else model(**batch.x)
        return Losses(out.square(), 1.0 + batch.index)

    a, b = torch.randn(5, 3), torch.randn(5)
    model = Two()
    theta = Theta(model)
    for x in ((a, b), {"a": a, "b": b}):
        batch = Batch(x, None, torch.arange(5))
        with chance.preserved():
            (piece,) = ExampleGrads()(Of(model, losses), theta, batch)
        true = 2 * ((a.sum(1) * b) * b)[:, None] * a
        assert torch.allclose(piece[0], true, rtol=1e-5)
        assert piece[1].count.tolist() == [1.0, 2, 3, 4, 5]


def test_a_loss_without_parameters_is_refused_by_vmap_too():
    model = nn.Linear(4, 2)
    objective = Of(model, lambda model, batch: Losses(batch.x.flatten(1).sum(1), torch.ones(batch.n)))
    with pytest.raises(InputTrouble, match="does not depend on any parameter"), chance.preserved():
        list(ExampleGrads()(objective, Theta(model), batch_of()))


def test_a_loss_that_looks_at_numbers_goes_one_by_one():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

    def losses(model: nn.Module, batch: Batch) -> Losses:
        out = model(batch.x).square().sum(1)
        return Losses(out * 2 if out.sum().item() > 0 else out, torch.ones(batch.n))

    grads, theta = ExampleGrads(), Theta(model)
    G, _ = all_of(grads, Of(model, losses), theta, batch_of())
    assert grads.way == "one by one"
    assert "item" in grads.note or "vmap" in grads.note
    assert G.shape == (7, 39)


def test_a_loss_that_keeps_a_tensor_between_calls_is_not_spoilt_by_vmap():
    """Cross-entropy keeps its counts for the next batch of that shape: none of vmap's own tensors may be left in it."""
    loss = CrossEntropy(ignore=None)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    objective, theta = Of(model, lambda model, batch: loss(model(batch.x), batch.y)), Theta(model)
    G, _ = all_of(ExampleGrads(), objective, theta, batch_of())
    one = objective(next(iter(batch_of().pieces(1))))
    assert one.count.sum().item() == 1.0
    one.total.sum().backward()
    again = ExampleGrads()
    assert torch.equal(G, all_of(again, objective, theta, batch_of())[0])
    assert again.way == "vmap"
