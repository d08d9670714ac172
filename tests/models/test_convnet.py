from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.models.convnet import ConvNet, plan_layers

SHAPES = [
    (6, 6, 1),
    (7, 9, 3),
    (8, 8, 1),
    (16, 16, 3),
    (17, 17, 1),
    (28, 28, 1),
    (32, 32, 3),
    (33, 40, 3),
    (64, 48, 3),
    (128, 128, 3),
]


def bytes_of(shape: tuple[int, int, int], n: int = 4, seed: int = 0) -> torch.Tensor:
    h, w, c = shape
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def make(shape: tuple[int, int, int], classes: int = 10, width: int = 8, seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(shape, classes, width)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 1000])
def test_logits_have_one_number_a_class(shape: tuple[int, int, int], classes: int) -> None:
    net = make(shape, classes)
    assert net(bytes_of(shape)).shape == (4, classes)
    assert net.eval()(bytes_of(shape, 1).float()).shape == (1, classes)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_reaches_every_parameter(shape: tuple[int, int, int]) -> None:
    net = make(shape)
    nn.functional.cross_entropy(net(bytes_of(shape, 16)), torch.arange(16) % 10).backward()
    for name, p in net.named_parameters():
        assert p.requires_grad, name
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_same_seed_same_network_and_other_seed_another() -> None:
    a, b, c = make((8, 8, 1)), make((8, 8, 1)), make((8, 8, 1), seed=1)
    assert all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert not torch.equal(a.head.weight, c.head.weight)
    x = bytes_of((8, 8, 1))
    assert torch.equal(a(x), b(x))


def test_eval_draws_nothing_and_changes_nothing() -> None:
    net, x = make((28, 28, 1)).eval(), bytes_of((28, 28, 1))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    assert torch.equal(net(x), net(x))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_eval_scores_each_picture_by_itself() -> None:
    net, x = make((28, 28, 1)).eval(), bytes_of((28, 28, 1), 7)
    one_by_one = torch.cat([net(x[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(net(x), one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_channels_last_equals_contiguous(shape: tuple[int, int, int]) -> None:
    x, y = bytes_of(shape), torch.arange(4)
    scored, trained = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = make(shape).eval()
        net.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        scored.append(net(x.contiguous(memory_format=layout)).detach())
        net.train().double()  # batch norm over four pictures amplifies float32 rounding
        nn.functional.cross_entropy(net(x.contiguous(memory_format=layout)), y).backward()
        trained.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(scored[0], scored[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)])
def test_calibrate_gives_zero_mean_and_unit_variance(shape: tuple[int, int, int]) -> None:
    net, x = make(shape), bytes_of(shape, 50) // 3
    net.calibrate(x)
    z = (x.double() - net.mean.double()) * net.scale.double()
    deviation, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=1e-5, atol=0)
    first = net.mean.clone()
    net.calibrate(x)
    assert torch.equal(first, net.mean)


def test_calibrate_only_centres_a_channel_that_never_changes() -> None:
    net = make((8, 8, 3))
    x = bytes_of((8, 8, 3), 20)
    x[:, 1] = 200
    net.calibrate(x)
    assert net.mean[0, 1].item() == 200
    assert net.scale[0, 1].item() == 1.0
    assert net(x).isfinite().all()


def test_calibrate_refuses_other_pictures() -> None:
    with pytest.raises(InputTrouble, match="calibrate"):
        make((8, 8, 1)).calibrate(bytes_of((8, 8, 3)))


@pytest.mark.parametrize(
    ("shape", "classes", "width"), [((5, 8, 1), 10, 8), ((8, 8, 0), 10, 8), ((8, 8, 1), 1, 8), ((8, 8, 1), 10, 0)]
)
def test_impossible_shapes_are_refused_in_one_line(shape: tuple[int, int, int], classes: int, width: int) -> None:
    with pytest.raises(InputTrouble) as trouble:
        ConvNet(shape, classes, width)
    assert "\n" not in str(trouble.value)


def test_layers_adapt_to_the_size() -> None:
    assert plan_layers((8, 8, 1), 32) == ([32], [32, 64])
    assert plan_layers((28, 28, 1), 32) == ([32], [32, 64, 128])
    assert plan_layers((128, 128, 3), 32) == ([8, 16, 32], [32, 64, 128])


def test_multiplications_are_those_that_the_convolutions_do() -> None:
    for shape in SHAPES:
        net, counted = make(shape), 0

        def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
            nonlocal counted
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            counted += layer.weight.numel() * (out.shape[2] * out.shape[3] if out.ndim == 4 else 1)

        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        net(bytes_of(shape, 2))
        assert net.multiplications == counted


@pytest.mark.parametrize(
    ("shape", "width", "parameters"),
    [((8, 8, 1), 32, 75114), ((28, 28, 1), 32, 297450), ((32, 32, 3), 32, 298026), ((32, 32, 3), 64, 1185866)],
)
def test_parameter_count_table(shape: tuple[int, int, int], width: int, parameters: int) -> None:
    stem, stages = plan_layers(shape, width)
    assert sum(p.numel() for p in make(shape, 10, width).parameters()) == parameters
    widths = [shape[2], *stem, *(w for s in stages for w in (s, s))]
    formula = sum(9 * i * o + 2 * o for i, o in itertools.pairwise(widths)) + 10 * widths[-1] + 10
    assert formula == parameters


def test_it_learns_which_half_is_bright() -> None:
    x, y = bytes_of((8, 8, 1), 64) // 8, torch.arange(64) % 2
    x[y == 1, :, :, 4:] += 100
    x[y == 0, :, :4, :] += 100
    net = make((8, 8, 1), 2)
    net.calibrate(x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert (net.eval()(x).argmax(1) == y).all()
