from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gradlearn.errors import InputTrouble
from gradlearn.pixels import EPS, scale_of, whitening


def smooth(n: int, c: int, side: int, seed: int = 0) -> torch.Tensor:
    """Pictures whose neighbouring pixels are alike, of unit scale."""
    z = torch.randn(n, c, side + 4, side + 4, generator=torch.Generator().manual_seed(seed))
    z = F.avg_pool2d(z, 5, 1)
    return (z - z.mean()) / z.std()


def test_scale_is_that_of_each_channel():
    pixels = torch.randint(0, 256, (20, 3, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, scale = scale_of(pixels, 3)
    rows = pixels.double().transpose(0, 1).reshape(3, -1)
    torch.testing.assert_close(mean.flatten(), rows.mean(1))
    torch.testing.assert_close(scale.flatten(), 1 / rows.std(1, correction=0))


@pytest.mark.parametrize(("n", "channels"), [(0, 3), (4, 1)])
def test_no_pictures_or_other_ones_are_refused(n: int, channels: int):
    with pytest.raises(InputTrouble, match="calibrate"):
        scale_of(torch.zeros(n, 3, 6, 6, dtype=torch.uint8), channels)


@pytest.mark.parametrize(("c", "side"), [(1, 2), (3, 2), (3, 3)])
def test_answers_of_whitening_filters_are_uncorrelated_and_of_their_variance(c: int, side: int):
    z = smooth(300, c, 12)
    weight = whitening(z, side, 2 * c * side * side).double()
    half = len(weight) // 2
    assert torch.equal(weight[:half], -weight[half:])
    answers = F.conv2d(z.double(), weight[:half]).transpose(0, 1).flatten(1)
    covariance = answers @ answers.T / answers.shape[1]
    patches = F.unfold(z.double(), side).transpose(1, 2).reshape(-1, c * side * side)
    variances = torch.linalg.eigvalsh(patches.T @ patches / len(patches)).flip(0)
    torch.testing.assert_close(covariance, torch.diag(variances / (variances + EPS)), rtol=1e-4, atol=1e-5)


def test_few_filters_are_the_leading_ones():
    z = smooth(100, 3, 10)
    whole, few = whitening(z, 3, 54), whitening(z, 3, 20)
    assert torch.equal(few[:10], whole[:10])
    assert torch.equal(few[10:], whole[27:37])


def test_flat_pictures_whiten_to_finite_filters():
    assert whitening(torch.zeros(5, 1, 8, 8), 2, 8).isfinite().all()
