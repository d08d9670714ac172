"""Every average: what is shown never touches what is trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.find import find, names
from gradlearn.symbols import Now
from gradlearn.theta import Theta

NAMES = names("average")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def move(theta: Theta, t: int) -> None:
    """As a step and a forward pass change theta and buffers."""
    g = torch.Generator().manual_seed(t)
    with torch.no_grad():
        for place in [*theta.model.parameters(), *(b for b in theta.buffers() if b.is_floating_point())]:
            place.add_(torch.randn(place.shape, generator=g, dtype=place.dtype), alpha=0.1)
        for b in theta.buffers():
            if not b.is_floating_point():
                b.add_(1)


def all_of(theta: Theta) -> list[torch.Tensor]:
    return [b.flat.clone() for b in theta.blocks] + [b.clone() for b in theta.buffers()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_shown_leaves_everything_bitwise_as_found(name: str):
    theta = Theta(network())
    average = find("average", name)(theta)
    for t in range(10):
        move(theta, t)
        average.see(theta)
    before, state = all_of(theta), {k: v.clone() for k, v in average.state().items()}
    with average.shown(theta):
        assert name in ("plain", "own", "soup") or not same(all_of(theta), before)  # soup shows theta until the end
    assert same(all_of(theta), before)
    assert all(torch.equal(v, state[k]) for k, v in average.state().items())
    with pytest.raises(KeyError), average.shown(theta):
        raise KeyError
    assert same(all_of(theta), before)
    with average.shown(theta), average.shown(theta):
        pass
    assert same(all_of(theta), before)


@pytest.mark.parametrize("name", NAMES)
def test_see_leaves_theta_as_found(name: str):
    theta = Theta(network())
    average = find("average", name)(theta)
    before = all_of(theta)
    for _ in range(5):
        average.see(theta)
    assert same(all_of(theta), before)


@pytest.mark.parametrize("name", NAMES)
def test_before_the_first_step_theta_is_shown(name: str):
    theta = Theta(network())
    average = find("average", name)(theta)
    before = all_of(theta)
    with average.shown(theta):
        assert same(all_of(theta), before)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_stand_still_are_their_own_average(name: str):
    theta = Theta(network())
    average = find("average", name)(theta)
    before = all_of(theta)
    for _ in range(50):
        average.see(theta)
    with average.shown(theta):
        for a, b in zip(all_of(theta), before, strict=True):
            assert torch.allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_round_in_the_middle_of_a_run(name: str):
    theta = Theta(network())
    first = find("average", name)(theta)
    for t in range(7):
        move(theta, t)
        first.see(theta)
    other = Theta(copy.deepcopy(theta.model))
    second = find("average", name)(Theta(network()))
    second.load({k: v.clone() for k, v in first.state().items()})
    for t in range(7, 15):
        for average, where in ((first, theta), (second, other)):
            move(where, t)
            average.see(where)
    with first.shown(theta), second.shown(other):
        assert same(all_of(theta), all_of(other))


@pytest.mark.parametrize("name", NAMES)
def test_loaded_state_is_a_copy(name: str):
    theta = Theta(network())
    first, second = find("average", name)(theta), find("average", name)(theta)
    for t in range(3):
        move(theta, t)
        first.see(theta)
    second.load(first.state())
    kept = {k: v.clone() for k, v in second.state().items()}
    move(theta, 3)
    first.see(theta)
    assert all(torch.equal(v, kept[k]) for k, v in second.state().items())


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precisions_are_averaged_too(name: str):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).double())
    theta = Theta(model)
    average = find("average", name)(theta)
    for t in range(4):
        move(theta, t)
        average.see(theta)
    with average.shown(theta):
        assert [b.flat.dtype for b in theta.blocks] == [torch.float32, torch.float64]
        assert all(b.flat.isfinite().all() for b in theta.blocks)


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_buffer_is_meant_so(name: str):
    """A causal mask is -inf where it masks: the mean of -inf and -inf would be NaN."""
    model = network()
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    theta = Theta(model)
    average = find("average", name)(theta)
    for _t in range(5):
        with torch.no_grad():
            model[0].weight.add_(1.0)
        average.see(theta)
    with average.shown(theta):
        assert model.mask.tolist() == [0.0, float("-inf")]
        assert all(b.flat.isfinite().all() for b in theta.blocks)
    assert model.mask.tolist() == [0.0, float("-inf")]


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_in_nothing_that_is_not_a_step(name: str):
    """Being shown, asked for its state, or loaded leaves no trace."""
    theta, other = Theta(network()), Theta(network())
    one, two = find("average", name)(theta), find("average", name)(other)
    for t in range(8):
        for average, where in ((one, theta), (two, other)):
            move(where, t)
            average.see(where, Now(t, 8, 4 * t, 0))
        with two.shown(other):
            two.state()
        two.load({k: v.clone() for k, v in two.state().items()})
    assert one.state().keys() == two.state().keys()
    assert all(torch.equal(v, two.state()[k]) for k, v in one.state().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_buffer_that_the_forward_pass_replaces_is_found_again(name: str):
    model = network()
    theta = Theta(model)
    average = find("average", name)(theta)
    for t in range(4):
        model[1].running_mean = model[1].running_mean + 1.0
        average.see(theta, Now(t, 4, t, 0))
    with average.shown(theta):
        model[1].running_mean = model[1].running_mean.clone()
    assert torch.equal(model[1].running_mean, torch.full((4,), 4.0))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_ema_is_the_slow_loop(decay: float, every: int):
    """theta_bar <- d theta_bar + (1 - d) theta in float64, tensor by tensor; d warms up; running statistics with it."""
    theta = Theta(network().double())
    average = find("average", "ema")(theta, decay=decay, every=every)
    named = dict(theta.model.named_parameters()) | {k: b for k, b in theta.model.named_buffers() if b.is_floating_point()}
    slow = {k: v.detach().clone() for k, v in named.items()}
    for t in range(40):
        move(theta, t)
        average.see(theta)
        if (t + 1) % every == 0:
            k = (t + 1) // every
            d = min(decay, (1 + k) / (10 + k))
            for name, value in slow.items():
                value.mul_(d).add_(named[name].detach(), alpha=1 - d)
    trained = {k: v.detach().clone() for k, v in named.items()}
    with average.shown(theta):
        for name, value in slow.items():
            assert torch.allclose(named[name], value, rtol=1e-12, atol=1e-14), name
            assert not torch.equal(named[name], trained[name])


def test_plain_shows_theta_itself():
    theta = Theta(network())
    average = find("average", "plain")(theta)
    move(theta, 0)
    before = all_of(theta)
    average.see(theta)
    with average.shown(theta):
        assert same(all_of(theta), before)
    assert average.state() == {}


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 1.5])
def test_a_decay_outside_zero_to_one_is_refused(decay: float):
    with pytest.raises(InputTrouble, match=r"--ema.decay .*: must be in \(0, 1\)"):
        find("average", "ema")(Theta(network()), decay=decay)
