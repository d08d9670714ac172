"""Two pictures made one: the targets say exactly how much of each there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlearn.data.blend import blend, cut_mixed, mixed_up
from photographs import made


def plain(n: int, side: int, dtype: torch.dtype = torch.uint8) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures each of one value, the number of their class."""
    labels = torch.arange(n)
    return labels.to(dtype).view(n, 1, 1, 1).expand(n, side, side, 3).contiguous(), labels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutmix_has_as_many_pixels_of_a_class_as_its_target_says(dtype):
    pixels, labels = plain(64, 20, dtype)
    out, target = blend(pixels, labels, 64, 5, 0.0, 1.0)
    assert out.dtype == dtype
    counts = torch.stack([(out[..., 0] == k).sum((1, 2)) for k in range(64)], 1)
    torch.testing.assert_close(target, counts / 400)
    assert ((counts > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_mixup_is_the_mean_that_its_target_says(dtype):
    pixels, labels = made(40, 8, 8).to(dtype), torch.arange(40)
    out, target = blend(pixels, labels, 40, 6, 0.3, 0.0)
    expected = torch.einsum("nk,khwc->nhwc", target, pixels.float())
    assert (out.float() - expected).abs().max() <= (0.5 + 1e-3 if dtype == torch.uint8 else 1e-3)
    torch.testing.assert_close(target.sum(1), torch.ones(40))
    assert ((target > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_the_mean_and_the_spread_of_a_beta(alpha):
    pixels, _ = plain(200, 4)
    other = torch.arange(200).roll(1)
    shares = torch.cat([mixed_up(pixels, other, draw, alpha)[1] for draw in range(50)])
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.012
    box = torch.cat([cut_mixed(plain(200, 32)[0], other, draw, alpha)[1] for draw in range(10)])
    assert box.mean() > 0.5  # boxes are cut by the border


def test_bytes_mix_without_leaving_their_range():
    extreme = torch.tensor([0, 255], dtype=torch.uint8).repeat(50).view(100, 1, 1, 1).expand(100, 3, 3, 1).contiguous()
    other = torch.arange(100).roll(1)
    out, share = mixed_up(extreme, other, 1, 1.0)
    expected = extreme.float() * share.view(-1, 1, 1, 1) + extreme[other].float() * (1 - share.view(-1, 1, 1, 1))
    assert (out.float() - expected).abs().max() <= 0.5


def test_both_take_turns_batch_by_batch():
    pixels, labels = plain(16, 8)
    cut = 0
    for draw in range(200):
        out, target = blend(pixels, labels, 16, draw, 1.0, 1.0)
        one = blend(pixels, labels, 16, draw, 0.0, 1.0), blend(pixels, labels, 16, draw, 1.0, 0.0)
        which = [torch.equal(out, a) and torch.equal(target, b) for a, b in one]
        assert sum(which) == 1
        cut += which[0]
    assert 65 < cut < 135  # five standard deviations


def test_the_share_of_one_picture_does_not_depend_on_how_many_there_are():
    pixels, _ = plain(30, 8)
    long, short = (mixed_up(pixels[:n], torch.arange(n).roll(1), 3, 0.4)[1] for n in (30, 7))
    np.testing.assert_array_equal(long[:7].numpy(), short.numpy())
