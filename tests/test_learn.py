"""fit, train and load: a module, a loss, data."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import gradlearn
from gradlearn import chance
from gradlearn.adapt import Examples, Items, loss_of, rows, to_data
from gradlearn.errors import InputTrouble, NumericsTrouble
from gradlearn.gradient.backprop import Backprop
from gradlearn.learn import targets_of
from gradlearn.supervised import Supervised, operations
from gradlearn.symbols import Batch, Losses
from gradlearn.theta import Theta
from toys import normal

X = normal("learn", 120, 3)
Y = (X[:, 0] + X[:, 1] > 0).long()
Z = X @ torch.tensor([[1.0], [-2.0], [0.5]])


def net(outputs: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, outputs))


def fit(model: nn.Module, data: Any, loss: Any = "cross_entropy", **more: Any) -> Any:
    return gradlearn.fit(model, data, loss, **({"steps": 40, "lr": 0.02, "batch": 16} | more))


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# ---- what comes of it


def test_a_batch_grows_where_the_gradient_is_mostly_noise():
    x, y = torch.randn(400, 4), torch.randint(0, 2, (400,))
    run = gradlearn.fit(nn.Linear(4, 2), (x, y), grow=True, noise__every=2, noise__factor=1.0, batch=8, epochs=3)
    turned = [a for a in run.actions if a.dial == "batch"]
    assert turned
    assert turned[0].after > 8
    assert run.stop["reason"] == "done"
    with pytest.raises(InputTrouble, match="--grow: full batches keep their size"):
        gradlearn.fit(nn.Linear(4, 2), (x, y), grow=True, batch="full", steps=3)


def test_fit_learns_and_says_so():
    model = net()
    run = fit(model, (X, Y), steps=150)
    assert run.model is model
    assert run.score.name == "accuracy"
    assert run.score.value > 0.8
    assert run.stop == {"reason": "done", "message": "all 150 steps are done"}
    assert run.steps == 150
    assert run.seconds > 0
    assert run.folder is None
    assert run.findings == run.actions == []
    assert not model.training
    out = run.predict(X)
    assert out.shape == (120, 2)
    assert not out.requires_grad
    assert torch.equal(out.argmax(1), model(X).argmax(1))
    assert run.settings["choice"]["steps"] == {"value": 150, "by": "user", "why": "as given"}
    assert run.settings["choice"]["update"]["by"] == "plan"
    with pytest.raises(InputTrouble, match="report: this run has no folder; call fit with run='runs/name'"):
        run.report()


def test_the_model_that_is_returned_is_the_one_that_was_scored():
    """The average, where the weights of the last step are others."""
    model = net()
    run = fit(model, (X, Y), steps=30, valid=(X[:40], Y[:40]), rate=["constant"], ema__decay=0.9)
    assert F.cross_entropy(model(X[:40]), Y[:40]).item() == pytest.approx(run.score.all["loss"], rel=1e-6)
    last = net()
    for _ in gradlearn.train(last, (X, Y), steps=30, lr=0.02, batch=16, rate=["constant"]):
        pass
    assert not torch.allclose(weights(model), weights(last))


def test_history_has_a_value_a_step_and_a_value_a_score():
    run = fit(net(), (X, Y), steps=40, score_every=10)
    scored = {f"{split}_{name}" for split in ("train", "val") for name in ("step", "accuracy", "loss")}
    assert set(run.history) == {"loss", "grad_norm"} | scored
    assert len(run.history["loss"]) == len(run.history["grad_norm"]) == 40
    assert run.history["val_step"] == [10, 20, 30, 40]
    assert len(run.history["val_loss"]) == 4
    assert run.history["val_accuracy"][-1] == run.score.value
    assert set(fit(net(1), (X, Z), "mse").history) == {"loss", "grad_norm", "val_step", "val_mse", "train_step", "train_mse"}
    assert set(fit(net(1), (X, Z), nn.L1Loss(), valid=None).history) == {"loss", "grad_norm"}


def test_explain_is_an_account():
    text = fit(net(), (X, Y)).explain()
    assert len(text) > 80
    assert "\n" not in text.strip()
    assert "40" in text


def test_the_model_owns_its_storages_again():
    for finish in (lambda m: fit(m, (X, Y)), lambda m: list(gradlearn.train(m, (X, Y), steps=5))):
        model = net()
        finish(model)
        for p in model.parameters():
            assert p.untyped_storage().nbytes() == p.nbytes
            assert p.grad is None


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    def trained(seed: int, before: int) -> Tensor:
        model = net()
        torch.manual_seed(before)
        fit(model, (X, Y), seed=seed)
        return weights(model)

    assert torch.equal(trained(1, 7), trained(1, 8))
    assert not torch.equal(trained(1, 7), trained(2, 7))


@pytest.mark.parametrize("way", ["fit", "train", "items", "error"])
def test_global_random_states_are_as_found(way: str):
    model = nn.Sequential(net(), nn.Dropout(0.3))
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    if way == "fit":
        fit(model, (X, Y), steps=5)
    elif way == "train":
        list(gradlearn.train(model, (X, Y), steps=5))
    elif way == "items":
        fit(model, Noisy(), steps=5)
    else:
        with pytest.raises(NumericsTrouble):
            fit(model, (X * float("nan"), Y), steps=9)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_train_hands_out_the_steps_and_leaves_what_the_caller_draws_alone():
    torch.manual_seed(9)
    expected = torch.rand(8)
    model = net()
    torch.manual_seed(9)
    drawn, losses = [], []
    for step in gradlearn.train(model, (X, Y), steps=6, batch=16):
        losses.append(step.loss)
        drawn.append(torch.rand(1))
    drawn += [torch.rand(1), torch.rand(1)]
    assert torch.equal(torch.cat(drawn), expected)
    assert [s.t for s in gradlearn.train(net(), (X, Y), steps=6)] == list(range(6))
    again = net()
    assert [s.loss for s in gradlearn.train(again, (X, Y), steps=6, batch=16)] == losses
    assert torch.equal(weights(model), weights(again))


def test_train_may_be_left_at_any_step():
    model = net()
    before = weights(model)
    for step in gradlearn.train(model, (X, Y), steps=50):
        if step.t == 3:
            break
    assert not torch.equal(weights(model), before)
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in model.parameters())
    with pytest.raises(InputTrouble, match="train: takes no 'run'; use fit"):
        next(gradlearn.train(model, (X, Y), run="x"))


def test_load_brings_a_run_back(tmp_path: Path):
    model = net()
    run = fit(model, (X, Y), run=tmp_path / "a")
    assert run.folder == tmp_path / "a"
    other = net(seed=5)
    loaded = gradlearn.load(tmp_path / "a", other)
    assert loaded.model is other
    assert torch.equal(weights(other), weights(model))
    assert torch.equal(loaded.predict(X), run.predict(X))
    assert run.report().is_file()
    with pytest.raises(InputTrouble, match=r"a run of fit\(\) does not say how its module is made; call load\(run, model="):
        gradlearn.load(tmp_path / "a")
    with pytest.raises(InputTrouble, match=r"weights: tensor '2.weight' is \[2, 8\], model expects \[3, 8\]; wrong model"):
        gradlearn.load(tmp_path / "a", net(3))
    with pytest.raises(InputTrouble, match=r"weights: missing tensor '4\.bias'"):
        gradlearn.load(tmp_path / "a", nn.Sequential(*net(), nn.Tanh(), nn.Linear(2, 2)))
    with pytest.raises(InputTrouble, match="run not found; did you mean 'a'"):
        gradlearn.load(tmp_path / "aa", other)


def test_show_sees_every_step():
    seen = []
    fit(net(), (X, Y), steps=7, show=lambda descent, step: seen.append((step.t, descent.t)))
    assert seen == [(t, t + 1) for t in range(7)]


@pytest.mark.parametrize("time", [1.0, "1s"])
def test_time_is_kept_roughly_and_the_steps_are_measured(time: float | str):
    run = gradlearn.fit(net(), (X, Y), time=time)
    assert run.seconds < 4.0
    assert run.steps > 20
    assert run.stop["reason"] in ("done", "time")
    assert run.settings["choice"]["steps"]["by"] == "measured"
    assert run.history["loss"][-1] < run.history["loss"][0]


def test_epochs_are_passes_over_the_training_data():
    assert fit(net(), (X, Y), steps=None, epochs=4, valid=None).steps == 4 * 120 // 16
    assert fit(net(), (X, Y), steps=None, epochs=0.5, valid=None).steps == 4


# ---- data


class Noisy(Dataset):
    """Items that are random in all three ways."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        noise = torch.randn(3) + np.random.randn() + random.random()  # noqa: NPY002
        self.asked.append((i, float(noise[0])))
        return X[i] + 0.1 * noise.float(), int(Y[i])


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return iter([])


class Pairs(Dataset):
    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return X[i].numpy().astype(np.float64), int(Y[i])


@pytest.mark.parametrize("data", [
    (X, Y),
    [X, Y],
    (X.numpy(), Y.numpy()),
    (X.double().numpy(), Y.numpy().astype(np.int32)),
    (X.tolist(), Y.tolist()),
    {"x": X, "y": Y},
    TensorDataset(X, Y),
    DataLoader(TensorDataset(X, Y), batch_size=7),
    Pairs(),
    Examples(X, Y),
])  # fmt: skip
def test_data_comes_in_many_shapes(data: Any):
    run = fit(net(), data, steps=60)
    assert run.history["loss"][-1] < run.history["loss"][0]
    assert run.score.name == "accuracy"


class Two(nn.Module):
    """Two inputs, by place or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(1, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.a(left) + self.b(right)


class TwoItems(Dataset):
    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return (X[i, :2], X[i, 2:]), Y[i]


class NamedItems(TwoItems):
    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return {"left": X[i, :2], "right": X[i, 2:]}, Y[i]


@pytest.mark.parametrize("data", [
    ((X[:, :2], X[:, 2:]), Y),
    ((X[:, :2].numpy(), X[:, 2:].numpy()), Y),
    ({"left": X[:, :2], "right": X[:, 2:]}, Y),
    TwoItems(),
    DataLoader(TwoItems()),
    NamedItems(),
    DataLoader(NamedItems()),
])  # fmt: skip
def test_models_of_several_inputs_get_tuples_and_dicts(data: Any):
    run = fit(Two(), data, steps=60)
    assert np.mean(run.history["loss"][-10:]) < np.mean(run.history["loss"][:5])


def test_random_items_are_asked_anew_every_time_and_are_the_same_for_the_same_seed():
    runs = []
    for before in (1, 2):
        torch.manual_seed(before)
        np.random.seed(before)  # noqa: NPY002
        random.seed(before)
        data, model = Noisy(), net()
        with torch.random.fork_rng():
            torch.manual_seed(before)
        fit(model, data, steps=20, valid=None)
        per_item: dict[int, set[float]] = {}
        for i, noise in data.asked:
            per_item.setdefault(i, set()).add(noise)
        assert sum(len(v) for v in per_item.values()) >= 20 * 16
        runs.append((weights(model), data.asked))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_a_random_collate_is_keyed_too():
    def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
        return torch.stack([x for x, _ in items]) + torch.rand(1), torch.tensor([y for _, y in items])

    results = []
    for before in (1, 2):
        model = net()
        torch.manual_seed(before)
        fit(model, DataLoader(TensorDataset(X, Y), collate_fn=collate), steps=5)
        results.append(weights(model))
    assert torch.equal(*results)


def test_items_of_one_batch_draw_from_one_keyed_stream():
    data = Items(Noisy())
    index = torch.tensor([3, 3, 4])
    a, b, c = data(index, 5), data(index, 5), data(index, 6)
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.x, c.x)
    assert not torch.equal(a.x[0], a.x[1])
    assert a.y.dtype == torch.int64


@pytest.mark.parametrize(("data", "line"), [
    ((X, Y[:50]), r"data: arrays of different lengths \[50, 120\]; give one row per example in each"),
    ((X[:0], Y[:0]), "data: no examples"),
    ((X, None), r"data: y is None; give \(x, y\)"),
    (X, r"data: expected \(x, y\), a torch Dataset or DataLoader, got Tensor"),
    (5, r"data: expected \(x, y\), a torch Dataset or DataLoader, got int"),
    ((X, ["a"] * 120), "data: list cannot be made a tensor .*; give numbers"),
    (TensorDataset(X), r"data: a TensorDataset of 1 tensors; give one of \(x, y\)"),
    (Stream(), "data: an IterableDataset has no length"),
    (DataLoader(Stream()), "data: an IterableDataset has no length"),
    (type("Single", (Pairs,), {"__getitem__": lambda self, i: X[i]})(), r"data: an item of Single is not a pair \(x, y\)"),
    ((X, Y + 5), "data: label 6 outside 0..1, the model has 2 outputs; fix the labels or the model"),
    ((X, Y - 1), "data: label -1 outside 0..1, the model has 2 outputs"),
    ((X, Y.float()), "loss: .*target"),
])  # fmt: skip
def test_data_that_cannot_be_used_is_refused_in_one_line(data: Any, line: str):
    model = net()
    before = weights(model)
    with pytest.raises(InputTrouble, match=line) as caught:
        fit(model, data)
    assert "\n" not in str(caught.value)
    assert torch.equal(weights(model), before)


def test_labels_of_a_model_with_one_output_are_zero_and_one():
    assert fit(net(1), (X, Y), steps=80).score.value > 0.7
    with pytest.raises(InputTrouble, match=r"data: label 2 outside 0\.\.1, the model has 1 output"):
        fit(net(1), (X, Y + 1))


def test_ignored_labels_of_any_number_are_no_error_and_not_scored():
    for ignore in (-100, 255):
        y = Y.clone()
        y[::3] = ignore
        loss = nn.CrossEntropyLoss(ignore_index=ignore)
        run = fit(net(), (X, y), loss, steps=150, valid=(X, y))
        assert run.score.value > 0.85, "of those that are not ignored"
    with pytest.raises(InputTrouble, match="every label is ignored"):
        fit(net(), (X, torch.full((120,), -100)))


@pytest.mark.parametrize(("valid", "train", "held"), [
    ("auto", 108, 12),
    (0.25, 90, 30),
    (None, 120, 0),
    ((X[:20], Y[:20]), 120, 20),
    (TensorDataset(X[:9], Y[:9]), 120, 9),
])  # fmt: skip
def test_validation_data_is_held_out_given_or_left_out(valid: Any, train: int, held: int):
    run = fit(net(), (X, Y), steps=3, valid=valid)
    data = run.settings["data"]
    assert data["train"] == train
    assert data.get("valid", 0) == held
    assert (run.score is None) == (held == 0)


def test_few_examples_hold_out_nothing():
    assert fit(net(), (X[:49], Y[:49]), steps=3).score is None
    assert fit(net(), (X[:50], Y[:50]), steps=3).score is not None


@pytest.mark.parametrize("valid", ["most", 0.0, 1.0, -0.5, 2, True])
def test_a_share_that_cannot_be_is_refused(valid: Any):
    with pytest.raises(InputTrouble, match="valid="):
        fit(net(), (X, Y), valid=valid)


def test_held_out_rows_are_a_share_of_each_class_and_of_what_has_none():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    train, held = rows(100, 0.1, labels, 0)
    assert sorted([*train, *held]) == list(range(100))
    assert np.bincount(labels[held]).tolist() == [6, 3, 1]
    train, held = rows(100, 0.2, None, 0)
    assert len(held) == 20
    assert held.tolist() != list(range(20))
    train, held = rows(100, 0.2, np.arange(100), 0)  # whole numbers that are no classes
    assert len(held) == 20
    assert rows(100, 0.2, None, 1)[1].tolist() != rows(100, 0.2, None, 0)[1].tolist()


# ---- losses

G = torch.Generator().manual_seed(0)
SCORES = torch.randn(9, 4, generator=G)
LABELS = torch.arange(9) % 4
NUMBERS = torch.randn(9, 4, generator=G)
BITS = (NUMBERS > 0).float()
SIGNS = BITS * 2 - 1
WEIGHT = torch.tensor([1.0, 0.2, 3.0, 0.7])
SHARES = NUMBERS.softmax(1)


@pytest.mark.parametrize(("loss", "output", "target"), [
    (nn.CrossEntropyLoss(), SCORES, LABELS),
    (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), SCORES, LABELS),
    (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1), SCORES, LABELS),
    (nn.CrossEntropyLoss(), SCORES, SHARES),
    (nn.CrossEntropyLoss(reduction="sum"), SCORES, LABELS),
    (nn.MSELoss(), SCORES, NUMBERS),
    (nn.MSELoss(reduction="sum"), SCORES, NUMBERS),
    (nn.L1Loss(), SCORES, NUMBERS),
    (nn.L1Loss(reduction="sum"), SCORES, NUMBERS),
    (nn.SmoothL1Loss(beta=0.5), SCORES, NUMBERS),
    (nn.HuberLoss(delta=0.7), SCORES, NUMBERS),
    (nn.BCEWithLogitsLoss(), SCORES, BITS),
    (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), SCORES, BITS),
    (nn.BCELoss(), SCORES.sigmoid(), BITS),
    (nn.NLLLoss(), SCORES.log_softmax(1), LABELS),
    (nn.NLLLoss(weight=WEIGHT), SCORES.log_softmax(1), LABELS),
    (nn.NLLLoss(ignore_index=1), SCORES.log_softmax(1), LABELS),
    (nn.NLLLoss(weight=WEIGHT, ignore_index=2), SCORES.log_softmax(1), LABELS),
    (nn.KLDivLoss(reduction="batchmean"), SCORES.log_softmax(1), SHARES),
    (nn.KLDivLoss(reduction="batchmean", log_target=True), SCORES.log_softmax(1), SHARES.log()),
    (nn.PoissonNLLLoss(), SCORES, BITS),
    (nn.SoftMarginLoss(), SCORES, SIGNS),
    (nn.MultiLabelSoftMarginLoss(), SCORES, BITS),
    (nn.MultiMarginLoss(), SCORES, LABELS),
    (nn.MultiMarginLoss(weight=WEIGHT), SCORES, LABELS),
    (nn.HingeEmbeddingLoss(), SCORES, SIGNS),
    (F.cross_entropy, SCORES, LABELS),
    (F.mse_loss, SCORES, NUMBERS),
    (F.l1_loss, SCORES, NUMBERS),
    (F.binary_cross_entropy_with_logits, SCORES, BITS),
])  # fmt: skip
def test_a_torch_loss_taken_apart_has_torchs_own_value_and_gradient(loss: Any, output: Tensor, target: Tensor):
    out = output.double().requires_grad_()
    if isinstance(loss, nn.Module):
        loss = loss.double()
    y = target.double() if target.is_floating_point() else target
    losses = loss_of(loss)(out, y)
    assert losses.total.shape == losses.count.shape == (9,)
    ours, theirs = losses.total.sum() / losses.count.sum(), loss(out, y)
    assert torch.allclose(ours, theirs, rtol=1e-6)
    for a, b in zip(torch.autograd.grad(ours, out), torch.autograd.grad(theirs, out), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-12)


def test_the_losses_of_a_module_are_those_of_each_example():
    losses = loss_of(nn.L1Loss())(SCORES, NUMBERS)
    assert torch.allclose(losses.total, (SCORES - NUMBERS).abs().sum(1))
    assert losses.count.tolist() == [4.0] * 9
    loss = nn.L1Loss()
    loss_of(loss)
    assert loss.reduction == "mean", "the user's own module stays as it is"


@pytest.mark.parametrize(("loss", "terms"), [
    (lambda out, y: (out - y).square().sum(1), 1.0),
    (lambda out, y: (out - y).square().sum(1, keepdim=True), 1.0),
    (lambda out, y: (out - y).square(), 4.0),
    (lambda out, y: (out - y).square().sum(1).mean(), 1.0),
])  # fmt: skip
def test_a_callable_may_give_one_number_per_example_or_one_in_all(loss: Callable[..., Tensor], terms: float):
    losses = loss_of(loss)(SCORES, NUMBERS)
    assert losses.total.shape == losses.count.shape == (9,)
    assert losses.count.tolist() == [terms] * 9
    expected = (SCORES - NUMBERS).square().sum(1).mean() / terms
    assert torch.allclose(losses.total.sum() / losses.count.sum(), expected)
    run = fit(net(1), (X, Z), loss, steps=80)
    assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]
    assert run.score.name == "loss"


@pytest.mark.parametrize("loss", [nn.L1Loss(), nn.MSELoss(), "mse", nn.BCEWithLogitsLoss(), nn.SmoothL1Loss(), F.l1_loss])
@pytest.mark.parametrize("wide", ["output", "target"])
def test_a_column_and_a_row_of_numbers_mean_the_same(loss: Any, wide: str):
    out, y = torch.randn(9, generator=G), (torch.randn(9, generator=G) > 0).float()
    losses = loss_of(loss)(out[:, None] if wide == "output" else out, y[:, None] if wide == "target" else y)
    expected = loss_of(loss)(out, y)
    assert torch.allclose(losses.total.sum() / losses.count.sum(), expected.total.sum() / expected.count.sum())


@pytest.mark.parametrize(("loss", "y", "line"), [
    ("mse", torch.zeros(120, 2), r"loss: the model's output has shape \(2, 1\) and the target \(2, 2\); give them the same shape"),
    ("mse", torch.zeros(120, 1, 3), "loss: the model's output has shape"),
    (lambda out, y: out.sum(0).sum()[None].expand(3), Z, r"loss: returned shape \(3,\) for 2 examples"),
    (lambda out, y: 1.0, Z, "loss: returned float, not a tensor"),
    (lambda out, y: torch.tensor(1.0), Z, "loss: does not depend on any parameter"),
    ("mean_squared_error", Z, "loss 'mean_squared_error' is not known; did you mean 'squared_error'"),
    (7, Z, "loss: expected a name, a torch loss or a callable, got int"),
])  # fmt: skip
def test_losses_that_cannot_be_are_refused(loss: Any, y: Tensor, line: str):
    with pytest.raises(InputTrouble, match=line):
        fit(net(1), (X, y), loss)


def test_class_weights_weigh_losses_and_counts():
    losses = loss_of("cross_entropy", WEIGHT.tolist())(SCORES, LABELS)
    assert torch.allclose(losses.total.sum() / losses.count.sum(), F.cross_entropy(SCORES, LABELS, weight=WEIGHT))
    rare = X[:, 0] > 1.0
    plain, weighted = net(), net()
    fit(plain, (X, rare.long()), steps=20, valid=None)
    fit(weighted, (X, rare.long()), steps=20, valid=None, class_weight=[0.1, 5.0])
    assert weighted(X).argmax(1).sum() > plain(X).argmax(1).sum()
    with pytest.raises(InputTrouble, match="class_weight: only the cross_entropy loss has classes; leave it out"):
        fit(net(1), (X, Z), "mse", class_weight=[1.0, 2.0])
    with pytest.raises(InputTrouble, match="class_weight: 3 weights for 2 classes"):
        fit(net(), (X, Y), class_weight=[1.0, 2.0, 3.0])
    with pytest.raises(InputTrouble, match="class_weight: 3 weights for 2 classes"):
        fit(net(1), (X, Y), class_weight=[1.0, 2.0, 3.0])


def test_a_loss_in_parts_is_the_loss_of_the_batch():
    for loss in (
        "cross_entropy",
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0])),
        nn.NLLLoss(),
        lambda o, y: F.cross_entropy(o, y),
    ):
        model = net()
        theta, of = Theta(model), loss_of(loss)

        def objective(batch: Batch, model: nn.Module = model, of: Any = of) -> Losses:
            return of(model(batch.x), batch.y)

        batch = Batch(X[:50], Y[:50], torch.arange(50), 0)
        whole = Backprop()(objective, theta, batch)  # type: ignore[arg-type]
        parts = Backprop(part=13)(objective, theta, batch)  # type: ignore[arg-type]
        assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
        assert parts.norm == pytest.approx(whole.norm, rel=1e-5)


# ---- settings


@pytest.mark.parametrize(("settings", "line"), [
    ({"step": 5}, "fit: unknown argument 'step'; did you mean 'steps'"),
    ({"learning_rate": 5}, "fit: unknown argument 'learning_rate'; "),
    ({"batch_size": 5}, "fit: unknown argument 'batch_size'; "),
    ({"steps": 5, "epochs": 2}, "fit: time, epochs and steps exclude each other; give one"),
    ({"steps": 0}, "--steps 0: must be a whole number above 0"),
    ({"steps": None, "epochs": 0}, "--epochs 0: must be above 0"),
    ({"steps": None, "epochs": -1.5}, "--epochs -1.5: must be above 0"),
    ({"steps": None, "time": "soon"}, "--time soon: expected seconds above 0, or such as 60s"),
    ({"steps": None, "time": -1}, "--time -1: expected seconds above 0"),
    ({"batch": 0}, "--batch 0: expected a number of examples, 'full' or 'auto'"),
    ({"batch": "half"}, "--batch 'half': expected a number of examples, 'full' or 'auto'"),
    ({"lr": -0.1}, "--lr -0.1: must be a finite number above 0"),
    ({"lr": float("nan")}, "--lr nan: must be a finite number above 0"),
    ({"lr": "fast"}, "--lr fast: must be a finite number above 0"),
    ({"clip": -1.0}, "--clip -1.0: must be a finite number of at least 0"),
    ({"update": "admw"}, "update has no 'admw'; did you mean 'adamw'"),
    ({"rate": ["warmup", "cosin"]}, "rate has no 'cosin'; did you mean 'cosine'"),
    ({"rate": "cosin"}, "rate has no 'cosin'; did you mean 'cosine'"),
    ({"adamw__weight_dekay": 0.1}, "adamw has no option 'weight_dekay'; did you mean 'weight_decay'"),
    ({"sgd__momentum": 0.1}, "this run has no 'sgd'"),
    ({"adamw__lr": 0.1}, "the learning rate of every update is given as --lr"),
    ({"ema__decay": 2.0}, r"--ema.decay 2.0: must be in \(0, 1\)"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused_before_anything_is_trained(settings: dict[str, Any], line: str, tmp_path: Path):
    model = net()
    before = weights(model)
    with pytest.raises(InputTrouble, match=line):
        fit(model, (X, Y), run=tmp_path / "runs" / "a", **settings)
    assert torch.equal(weights(model), before)
    assert not (tmp_path / "runs" / "a").exists()
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in model.parameters())


@pytest.mark.parametrize("model", [nn.Identity(), nn.Linear(3, 2).requires_grad_(False)])
def test_a_model_with_nothing_to_train_is_refused(model: nn.Module):
    with pytest.raises(InputTrouble, match="model: no parameter requires a gradient; there is nothing to train"):
        fit(model, (X, Y))


def test_what_is_no_module_is_refused():
    with pytest.raises(InputTrouble, match=r"fit: expected an nn\.Module, got function"):
        fit(lambda x: x, (X, Y))  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [
    {"update": "sgd", "lr": 0.05, "sgd__momentum": 0.5}, {"update": "nadam"}, {"rate": "cosine"}, {"rate": ["constant"]},
    {"rate": "warmup,cosine"}, {"average": "plain"}, {"batch": "full"}, {"batch": 1}, {"clip": 0.1}, {"backprop__part": 5},
    {"adamw__betas": (0.8, 0.9)}, {"ema__every": 3, "ema__decay": 0.5}, {"cross_entropy__label_smoothing": 0.1},
], ids=str)  # fmt: skip
def test_every_choice_can_be_made_by_hand(settings: dict[str, Any]):
    run = fit(net(), (X, Y), **({"steps": 100} | settings))
    assert np.mean(run.history["loss"][-20:]) < np.mean(run.history["loss"][:5])
    for name, value in settings.items():
        choice = run.settings["choice"][name.replace("__", ".")]
        assert choice["by"] == "user"
        assert choice["value"] == (value.split(",") if name == "rate" and isinstance(value, str) else value)


def test_an_option_of_the_loss_is_used():
    plain, smooth = fit(net(), (X, Y), steps=1), fit(net(), (X, Y), steps=1, cross_entropy__label_smoothing=0.5)
    assert plain.history["loss"] != smooth.history["loss"]


def test_what_is_not_finite_for_good_raises_and_keeps_good_weights():
    model = net()
    with pytest.raises(NumericsTrouble, match="step"):
        fit(model, (X, Y), lambda out, y: out.sum(1) * float("nan"))
    assert torch.isfinite(weights(model)).all()
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in model.parameters())


def test_act_false_ends_at_the_first_bad_step():
    x = X.clone()
    x[17] = float("nan")
    with pytest.raises(NumericsTrouble):
        fit(net(), (x, Y), act=False, valid=None)
    run = fit(net(), (x, Y), valid=None)
    assert {a.name for a in run.actions} == {"skip"}
    assert all(17 in f.evidence["examples"] or len(f.evidence["examples"]) == 8 for f in run.findings)


def test_a_sequence_model_is_trained_and_scored_by_token():
    x = torch.randint(5, (60, 7), generator=G)
    y = (x + 1) % 5
    y[:, 5:] = -100

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x).transpose(1, 2)

    run = fit(Tagger(), (x, y), steps=200, lr=0.1)
    assert run.score.value == 1.0


def test_draws_of_training_batches_differ_and_validation_has_none():
    draws = []

    class Watched(Examples):
        def __call__(self, index: Tensor, draw: int) -> Batch:
            draws.append(draw)
            return super().__call__(index, draw)

    fit(net(), Watched(X, Y), steps=4, valid=Watched(X, Y), score_every=2)
    training = [d for d in draws if d >= 0][1:]  # the first was to try out
    assert training == [chance.key(0, "batch", t) for t in range(4)]
    assert -1 in draws


def test_to_data_passes_data_through():
    data = Examples(X, Y)
    assert to_data(data) is data


def test_the_example_that_is_not_a_number_is_named_by_its_row_in_what_was_given():
    x, y = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(200, 1)
    x[137] = torch.nan
    model = nn.Linear(4, 1)
    run = gradlearn.fit(model, (x, y), loss="mse", valid=0.2, steps=40, batch=16)
    named = {row for finding in run.findings if finding.name == "non-finite" for row in finding.evidence["examples"]}
    assert named == {137}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_script_module_is_refused_in_one_line():
    with pytest.raises(InputTrouble, match="ScriptModule"):
        fit(torch.jit.trace(net(), X[:2]), (X, Y), steps=1)


def test_operations_count_each_matrix_once_for_each_place_of_its_output():
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.read = nn.Embedding(50, 8), nn.LSTM(8, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.look(x))[0][:, -1]

    def counted(model: nn.Module, x: Tensor) -> float:
        return operations(Supervised(model, "cross_entropy", {"train": Examples(x, torch.zeros(len(x)).long())}), model)

    assert counted(nn.Linear(5, 3), torch.randn(4, 5)) == 6 * 5 * 3
    assert counted(nn.Linear(5, 3), torch.randn(4, 7, 5)) == 6 * 5 * 3 * 7
    assert counted(nn.Conv2d(3, 8, 3), torch.randn(4, 3, 6, 6)) == 6 * (3 * 8 * 9) * 16
    assert counted(Words(), torch.randint(0, 50, (4, 9))) == 6 * (4 * 16) * (8 + 16) * 9
    assert counted(nn.LayerNorm(5), torch.randn(4, 5)) == 0


def test_a_resumed_run_keeps_its_seed_and_its_split_where_none_is_given(tmp_path: Path):
    def stop(descent: Any, step: Any) -> None:
        descent.interrupted = step.t == 10

    whole = net()
    fit(whole, (X, Y), valid=0.3, seed=5)
    broken = net()
    fit(broken, (X, Y), valid=0.3, seed=5, run=tmp_path / "r", show=stop)
    resumed = fit(net(), (X, Y), valid=0.3, resume=tmp_path / "r")
    for a, b in zip(whole.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputTrouble, match="seed=4, but the run in"):
        fit(net(), (X, Y), resume=tmp_path / "r", seed=4)


def test_who_names_no_seed_has_not_set_one():
    choice = fit(net(), (X, Y), steps=1).settings["choice"]["seed"]
    assert (choice["value"], choice["by"]) == (0, "plan")


class Slope(nn.Module):
    """u'(x), by differentiation inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(self.u(x).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("compiled", ["on", "off"])
def test_a_module_that_differentiates_inside_itself_is_trained_and_scored(compiled: str):
    torch.manual_seed(0)
    x = torch.rand(200, 1)
    run = gradlearn.fit(Slope(), (x, torch.cos(x)), "mse", steps=300, batch=32, compile=compiled)
    assert run.score is not None
    assert run.score.value < 0.01
    assert not run.predict(x[:3]).requires_grad


def test_convolutions_are_laid_out_by_channels_while_they_train_and_as_they_were_afterwards():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(48, 2))
    before = [p.stride() for p in model.parameters()]
    seen: list[Any] = []
    x, y = torch.rand(60, 1, 8, 8), torch.arange(60) % 2
    gradlearn.fit(model, (x, y), steps=2, show=lambda d, step: seen.append([model[k].weight.stride() for k in (0, 2)]))
    assert seen[0] == [(9, 1, 3, 1), (36, 1, 12, 4)]
    assert [p.stride() for p in model.parameters()] == before


def test_targets_are_classes_asked_for_and_an_answer_in_numbers_is_one():
    classes, words = torch.randint(3, (10,)), torch.randint(9, (10, 7))
    assert targets_of(to_data((torch.randn(10, 4), classes))) == 10
    assert targets_of(to_data((torch.randn(10, 4), words))) == 70
    assert targets_of(to_data((torch.randn(10, 4), torch.randn(10, 5)))) == 10
    assert targets_of(to_data((torch.randn(10, 4), {"a": classes, "b": words}))) == 80
    assert targets_of([1, 2, 3]) == 3
