"""Every loss: unreduced, and sum(total) / sum(count) is torch's own mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.find import find, is_penalty, names
from gradlearn.symbols import Losses

NAMES = [name for name in names("objective") if not is_penalty(name)]  # penalties: test_penalty.py
CrossEntropy = find("objective", "cross_entropy")
SquaredError = find("objective", "squared_error")


def usual(name: str) -> tuple[Tensor, Tensor, Callable[..., Tensor]]:
    """An output, a target and torch's mean for each loss: a new file adds its line here."""
    g = torch.Generator().manual_seed(0)
    scores, numbers = torch.randn(9, 4, generator=g), torch.randn(9, 4, generator=g)
    return {
        "cross_entropy": (scores, torch.arange(9) % 4, F.cross_entropy),
        "squared_error": (scores, numbers, F.mse_loss),
    }[name]


def mean(losses: Losses) -> Tensor:
    return losses.total.sum() / losses.count.sum()


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_unreduced_and_their_mean_is_torchs(name: str):
    output, target, torchs = usual(name)
    losses = find("objective", name)()(output, target)
    assert losses.total.shape == losses.count.shape == (9,)
    assert torch.allclose(mean(losses), torchs(output, target), rtol=1e-6)
    for i in range(9):
        alone = find("objective", name)()(output[i : i + 1], target[i : i + 1])
        assert torch.allclose(alone.total, losses.total[i : i + 1], rtol=1e-6)
        assert torch.equal(alone.count, losses.count[i : i + 1])


@pytest.mark.parametrize("name", NAMES)
def test_its_gradient_is_torchs(name: str):
    output, target, torchs = usual(name)
    output = output.double().requires_grad_()
    target = target.double() if target.is_floating_point() else target
    (ours,) = torch.autograd.grad(mean(find("objective", name)()(output, target)), output)
    (theirs,) = torch.autograd.grad(torchs(output, target), output)
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    assert not find("objective", name)()(output, target).count.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_batches_of_changing_size_are_each_counted_right(name: str):
    output, target, torchs = usual(name)
    loss = find("objective", name)()
    for n in (9, 4, 9, 1):
        losses = loss(output[:n], target[:n])
        assert losses.count.shape == (n,)
        assert torch.allclose(mean(losses), torchs(output[:n], target[:n]), rtol=1e-6)


WEIGHTS = torch.tensor([1.0, 0.2, 3.0, 0.7])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("ignore", [-100, 2, 255, None])
@pytest.mark.parametrize("shape", [(9,), (6, 5), (3, 2, 4)])
def test_cross_entropy_with_weights_ignored_targets_smoothing_and_sequences(
    smoothing: float, weight: Tensor | None, ignore: int | None, shape: tuple[int, ...]
):
    g = torch.Generator().manual_seed(1)
    output = torch.randn(shape[0], 4, *shape[1:], generator=g, dtype=torch.float64)
    target = torch.randint(4, shape, generator=g)
    if ignore is not None:
        target[torch.rand(shape, generator=g) < 0.3] = ignore
    loss = CrossEntropy(label_smoothing=smoothing, class_weight=weight, ignore=ignore)
    losses = loss(output, target)
    theirs = F.cross_entropy(
        output,
        target,
        weight=None if weight is None else weight.double(),
        ignore_index=-100 if ignore is None else ignore,
        label_smoothing=smoothing,
    )
    assert losses.total.shape == losses.count.shape == shape[:1]
    assert torch.allclose(mean(losses), theirs, rtol=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(9,), (6, 5)])
def test_cross_entropy_of_soft_targets(weight: Tensor | None, smoothing: float, shape: tuple[int, ...]):
    g = torch.Generator().manual_seed(2)
    output = torch.randn(shape[0], 4, *shape[1:], generator=g, dtype=torch.float64)
    target = torch.rand(output.shape, generator=g, dtype=torch.float64).softmax(1)
    losses = CrossEntropy(label_smoothing=smoothing, class_weight=weight)(output, target)
    theirs = F.cross_entropy(output, target, weight=None if weight is None else weight.double(), label_smoothing=smoothing)
    assert torch.allclose(mean(losses), theirs, rtol=1e-12)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(ignore=None), CrossEntropy(class_weight=WEIGHTS)])
def test_sequences_may_change_their_length_from_batch_to_batch(loss: CrossEntropy):
    for length in (5, 3, 5):
        output, target = torch.randn(6, 4, length), torch.randint(4, (6, length))
        theirs = F.cross_entropy(output, target, weight=loss.class_weight)
        assert torch.allclose(mean(loss(output, target)), theirs, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32])
@pytest.mark.parametrize("shape", ["flat", "column"])
def test_one_output_is_a_two_class_model_whatever_the_labels_are_made_of(kind: torch.dtype, shape: str):
    output = torch.linspace(-2, 2, 8)
    truth = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    theirs = F.binary_cross_entropy_with_logits(output, truth.float())
    target = truth.to(kind)
    out = output[:, None] if shape == "column" else output
    for y in (target, target[:, None]) if kind.is_floating_point else (target,):
        losses = CrossEntropy()(out, y)
        assert losses.total.shape == losses.count.shape == (8,)
        assert torch.allclose(mean(losses), theirs)


def test_two_classes_with_weights_smoothing_and_ignored_targets():
    output, truth = torch.linspace(-2, 2, 8, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    pairs = torch.stack([torch.zeros(8, dtype=torch.float64), output], 1)  # softmax of (0, z) is sigmoid of z
    weight = torch.tensor([0.5, 2.0])
    losses = CrossEntropy(label_smoothing=0.1, class_weight=weight)(output, truth)
    by_class = F.cross_entropy(pairs, truth, reduction="none", label_smoothing=0.1)
    assert torch.allclose(mean(losses), (by_class * weight[truth]).sum() / weight[truth].sum(), rtol=1e-6)
    truth[:3] = -100
    for y in (truth, truth.double()):
        losses = CrossEntropy()(output, y)
        assert losses.count.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
        assert torch.allclose(mean(losses), F.cross_entropy(pairs, truth), rtol=1e-6)
        assert losses.total[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_whole_kind_are_classes(kind: torch.dtype):
    output, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    assert torch.allclose(mean(CrossEntropy()(output, target.to(kind))), F.cross_entropy(output, target))


@pytest.mark.parametrize("bad", [-0.1, 1.0, 2.0])
def test_smoothing_outside_its_range_is_refused(bad: float):
    with pytest.raises(InputTrouble, match=r"--cross_entropy.label_smoothing .*: must be in \[0, 1\)"):
        CrossEntropy(label_smoothing=bad)


@pytest.mark.parametrize(
    ("output", "target"), [((5,), (5, 1)), ((5, 1), (5,)), ((5, 1, 4), (5, 4)), ((5, 3), (5, 3)), ((5, 2, 1, 2), (5, 2, 2))]
)
def test_squared_error_aligns_what_can_only_mean_one_thing(output: tuple[int, ...], target: tuple[int, ...]):
    out, y = torch.randn(output), torch.randn(target)
    losses = SquaredError()(out, y)
    assert losses.total.shape == (5,)
    assert torch.allclose(mean(losses), F.mse_loss(out, y.reshape(output)))


@pytest.mark.parametrize(
    ("output", "target"),
    [((5,), (4,)), ((5, 3), (5,)), ((5, 3), (3,)), ((5, 3), (1, 3)), ((5, 2, 3), (5, 3, 2)), ((5, 2, 3), (5, 6)), ((4, 1), (1, 4))],
)
def test_squared_error_refuses_what_would_broadcast_or_be_shuffled(output: tuple[int, ...], target: tuple[int, ...]):
    with pytest.raises(InputTrouble, match=r"loss: the model's output has shape .* and the target .*; give them the same shape"):
        SquaredError()(torch.zeros(output), torch.zeros(target))


def test_squared_error_takes_whole_numbers_as_targets():
    out, y = torch.randn(6, 1), torch.arange(6)
    assert torch.allclose(mean(SquaredError()(out, y)), F.mse_loss(out[:, 0], y.float()))


def test_an_empty_batch_has_no_losses():
    for loss, output, target in (
        (SquaredError(), torch.zeros(0, 2), torch.zeros(0, 2)),
        (CrossEntropy(), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)),
    ):
        losses: Any = loss(output, target)
        assert losses.total.shape == losses.count.shape == (0,)
