"""A map is the gradient by pixels, smoothed; it points at the pixels that matter and leaves no trace."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.insight.saliency import laid_over, saliency
from gradlearn.models.convnet import ConvNet


def pictures(n: int, c: int = 1) -> Tensor:
    return torch.randint(0, 256, (n, c, 9, 7), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def test_of_a_linear_model_without_softmax_it_is_the_weights() -> None:
    weight = torch.randn(4, 2, 9, 7, generator=torch.Generator().manual_seed(1))
    found = saliency(lambda x: x.flatten(1) @ weight.flatten(1).T, pictures(3, 2), torch.tensor([2, 0, 1]), 3)
    torch.testing.assert_close(found, weight[[2, 0, 1]].abs().sum(1))


def test_of_a_smooth_model_it_is_the_mean_of_finite_differences() -> None:
    weight = torch.randn(3, 63, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 200

    def outputs(x: Tensor) -> Tensor:
        return (x.double().flatten(1) @ weight.T).tanh().log_softmax(1)

    x = pictures(1)
    found = saliency(outputs, x, torch.tensor([1]), 2, seed=5)
    from gradlearn import chance

    spread = 0.1 * float(x.max().item() - x.min().item())
    total = torch.zeros(9, 7, dtype=torch.float64)
    for k in range(2):
        noise = torch.randn((1, 1, 9, 7), generator=torch.Generator().manual_seed(chance.key(5, "saliency", k)))
        at = x.double() + spread * noise.double()
        for i in range(9):
            for j in range(7):
                step = torch.zeros_like(at)
                step[0, 0, i, j] = 0.01
                total[i, j] += ((outputs(at + step) - outputs(at - step))[0, 1] / 0.02).item()
    torch.testing.assert_close(found[0].double(), (total / 2).abs(), rtol=1e-3, atol=1e-7)


def test_maps_of_large_pictures_are_blurred_and_keep_their_sum_inside() -> None:
    weight = torch.zeros(2, 1, 64, 70)
    weight[1, 0, 30, 40] = 5.0
    x = torch.randint(0, 256, (1, 1, 64, 70), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    found = saliency(lambda x: x.flatten(1) @ weight.flatten(1).T, x, torch.tensor([1]), 1)[0]
    assert found.shape == (64, 70)
    assert (found[26:35, 36:45] > 0).all()
    assert (found > 0).sum() == 81
    torch.testing.assert_close(found.sum(), torch.tensor(5.0))


def test_nothing_is_left_behind_and_the_same_seed_is_the_same_map() -> None:
    model = ConvNet((9, 7, 1), 4, 8).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    first = saliency(model, pictures(5), torch.tensor([0, 1, 2, 3, 0]), 3, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(first, saliency(model, pictures(5), torch.tensor([0, 1, 2, 3, 0]), 3, seed=2))
    assert first.shape == (5, 9, 7)
    assert (first >= 0).all()
    with torch.no_grad():
        torch.testing.assert_close(saliency(model, pictures(5), torch.tensor([0, 1, 2, 3, 0]), 3, seed=2), first)


def test_it_finds_the_corner_that_a_model_looks_at() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            corner = x[:, 0, :3, :3].mean((1, 2))
            return torch.stack([corner, -corner], 1).log_softmax(1)

    found = saliency(Corner(), pictures(2), torch.tensor([0, 1]), 4)
    assert (found[:, 3:] == 0).all()
    assert (found[:, :, 3:] == 0).all()


def test_the_map_glows_where_it_is_strong_and_a_flat_one_nowhere() -> None:
    strength = np.zeros((9, 7), np.float32)
    strength[2, 3] = strength[2, 4] = 1.0
    grey = np.full((9, 7, 1), 100, np.uint8)
    over = laid_over(grey, strength)
    assert over.shape == (9, 7, 3)
    assert over[2, 3, 0] > over[0, 0, 0] + 100
    assert len(np.unique(over[0, 0])) == 1
    assert (laid_over(grey, 0 * strength) == over[0, 0]).all()
    assert laid_over(np.zeros((9, 7, 3), np.uint8), strength).shape == (9, 7, 3)
