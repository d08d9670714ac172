"""The detector: its arithmetic counted, pictures of any size, answers that say where boxes are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.models.detector import PRIOR, REACH, Detector, decode, places


def pictures(n: int, height: int, width: int, channels: int = 3) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=g)


@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8), (16, 32, 64), (32,)])
@pytest.mark.parametrize("side", [(64, 96), (72, 40)])
def test_multiplications_are_those_of_its_convolutions(strides: tuple[int, ...], side: tuple[int, int]):
    model, counted = Detector((*side, 3), 2, 8, strides).eval(), []

    def hook(conv: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        counted.append(conv.weight.numel() * out.shape[2] * out.shape[3])

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(hook)
    answers = model(pictures(1, *side))
    assert sum(counted) == model.multiplications
    assert [a.shape for a in answers] == [(1, 6, -(-side[0] // s), -(-side[1] // s)) for s in strides]


@pytest.mark.parametrize("side", [(33, 47), (64, 100), (90, 35)])
def test_pictures_of_any_size_are_filled_up_to_the_right_and_below(side: tuple[int, int]):
    model = Detector((64, 64, 1), 1, 8).eval()
    x = pictures(2, *side, channels=1)
    right, below = -side[1] % 4, -side[0] % 4
    mean = nn.functional.pad(x.float() - model.mean, (0, right, 0, below)) + model.mean
    for ours, other in zip(model(x), model(mean), strict=True):
        assert torch.allclose(ours, other, atol=1e-5)


def test_before_training_every_place_says_little_and_reaches_a_few_strides():
    model = Detector((64, 64, 3), 2, 16).eval()
    answers = model(pictures(4, 64, 64))
    at = places(answers, model.strides)
    scores, boxes = decode(answers, at)
    assert scores.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.1)
    reach = (boxes[..., 2:] - boxes[..., :2]).mean((0, 2)) / at.strides / 2
    assert torch.allclose(reach, torch.full_like(reach, REACH), rtol=0.2)


def test_answers_mean_the_boxes_that_they_were_made_from():
    at = places([torch.zeros(1, 7, 4, 6), torch.zeros(1, 7, 2, 3)], (8, 16))
    assert at.shapes == ((4, 6), (2, 3))
    assert at.centres[0].tolist() == [4, 4]
    assert at.centres[7].tolist() == [12, 12]
    assert at.centres[24].tolist() == [8, 8]
    truth = torch.stack([at.centres - 3, at.centres + torch.tensor([5.0, 11.0])], 0).permute(1, 0, 2).reshape(-1, 4)
    raw = torch.cat([at.centres - truth[:, :2], truth[:, 2:] - at.centres], 1).div(at.strides[:, None]).log()
    flat = torch.cat([torch.zeros(30, 3), raw], 1).T[None]
    scores, boxes = decode([flat[:, :, :24].view(1, 7, 4, 6), flat[:, :, 24:].view(1, 7, 2, 3)], at)
    assert scores.shape == (1, 30, 3)
    assert torch.allclose(boxes[0], truth, atol=1e-4)


def test_far_answers_stay_finite():
    at = places([torch.zeros(1, 5, 2, 2)], (8,))
    _, boxes = decode([torch.full((1, 5, 2, 2), 1e4)], at)
    assert bool(torch.isfinite(boxes).all())
    assert boxes.abs().max().item() < 8 * math.exp(7)


def test_half_precision_says_nearly_the_same_and_keeps_weights_and_answers_exact():
    exact, half = (Detector((64, 64, 3), 3, 16, precision=p).eval() for p in ("float32", "bfloat16"))
    half.load_state_dict(exact.state_dict())
    x = pictures(2, 64, 64)
    one, other = (decode(m(x), places(m(x), m.strides)) for m in (exact, half))
    assert one[0].dtype == other[0].dtype == torch.float32
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert torch.allclose(one[0], other[0], atol=0.1)
    assert torch.allclose(one[1], other[1], atol=2.0)


def test_calibrated_pictures_have_mean_zero_and_variance_one():
    model, x = Detector((40, 40, 3), 1, 8), pictures(8, 40, 40)
    model.calibrate(x)
    z = (x.float() - model.mean) * model.scale
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(z.var((0, 2, 3), correction=0), torch.ones(3), rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strides": (8, 32)}, r"--detector.strides \[8, 32\]: each must be twice"),
        ({"strides": ()}, r"--detector.strides \[\]"),
        ({"strides": (5, 10)}, r"--detector.strides"),
        ({"shape": (20, 64, 3)}, r"at least 32 x 32"),
        ({"classes": 0}, r"at least 1 class"),
        ({"width": 0}, r"width 1"),
        ({"precision": "bfloat"}, r"--detector.precision bfloat: not known; it is one of float32, bfloat16"),
    ],
)
def test_what_cannot_be_built_is_refused(given: dict[str, object], said: str):
    usual: dict[str, object] = {"shape": (64, 64, 3), "classes": 2, "width": 8}
    with pytest.raises(InputTrouble, match=said):
        Detector(**(usual | given))  # pyright: ignore[reportArgumentType]
