"""What every network for pictures keeps to, whatever its layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.models.convnet import ConvNet
from gradlearn.models.resnet import ResNet

Net = ConvNet | ResNet
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


@pytest.fixture(params=[ConvNet, ResNet])
def kind(request: pytest.FixtureRequest) -> type[Net]:
    return request.param


def bytes_of(shape: tuple[int, int, int], n: int = 4, seed: int = 0) -> torch.Tensor:
    h, w, c = shape
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def make(kind: type[Net], shape: tuple[int, int, int], classes: int = 10, width: int = 8, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return kind(shape, classes, width)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 1000])
def test_logits_have_one_number_a_class(kind: type[Net], shape: tuple[int, int, int], classes: int) -> None:
    net = make(kind, shape, classes)
    assert net(bytes_of(shape)).shape == (4, classes)
    assert net.eval()(bytes_of(shape, 1).float()).shape == (1, classes)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_reaches_every_parameter(kind: type[Net], shape: tuple[int, int, int]) -> None:
    net = make(kind, shape)
    nn.functional.cross_entropy(net(bytes_of(shape, 16)), torch.arange(16) % 10).backward()
    for name, p in net.named_parameters():
        assert p.requires_grad, name
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_same_seed_same_network_and_other_seed_another(kind: type[Net]) -> None:
    a, b, c = make(kind, (8, 8, 1)), make(kind, (8, 8, 1)), make(kind, (8, 8, 1), seed=1)
    assert all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert not torch.equal(a.head.weight, c.head.weight)
    x = bytes_of((8, 8, 1))
    assert torch.equal(a(x), b(x))


def test_eval_draws_nothing_and_changes_nothing(kind: type[Net]) -> None:
    net, x = make(kind, (28, 28, 1)).eval(), bytes_of((28, 28, 1))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    assert torch.equal(net(x), net(x))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_eval_scores_each_picture_by_itself(kind: type[Net]) -> None:
    net, x = make(kind, (28, 28, 1)).eval(), bytes_of((28, 28, 1), 7)
    one_by_one = torch.cat([net(x[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(net(x), one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)])
def test_calibrate_gives_zero_mean_and_unit_variance(kind: type[Net], shape: tuple[int, int, int]) -> None:
    net, x = make(kind, shape), bytes_of(shape, 50) // 3
    net.calibrate(x)
    z = (x.double() - net.mean.double()) * net.scale.double()
    deviation, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=1e-5, atol=0)
    first = net.mean.clone()
    net.calibrate(x)
    assert torch.equal(first, net.mean)


def test_calibrate_only_centres_a_channel_that_never_changes(kind: type[Net]) -> None:
    net = make(kind, (8, 8, 3))
    x = bytes_of((8, 8, 3), 20)
    x[:, 1] = 200
    net.calibrate(x)
    assert net.mean[0, 1].item() == 200
    assert net.scale[0, 1].item() == 1.0
    assert net(x).isfinite().all()


def test_calibrate_refuses_other_pictures(kind: type[Net]) -> None:
    with pytest.raises(InputTrouble, match="calibrate"):
        make(kind, (8, 8, 1)).calibrate(bytes_of((8, 8, 3)))


@pytest.mark.parametrize(
    ("shape", "classes", "width"), [((5, 8, 1), 10, 8), ((8, 8, 0), 10, 8), ((8, 8, 1), 1, 8), ((8, 8, 1), 10, 0)]
)
def test_impossible_shapes_are_refused_in_one_line(kind: type[Net], shape: tuple[int, int, int], classes: int, width: int) -> None:
    with pytest.raises(InputTrouble) as trouble:
        kind(shape, classes, width)
    assert "\n" not in str(trouble.value)


def test_it_learns_which_half_is_bright(kind: type[Net]) -> None:
    x, y = bytes_of((8, 8, 1), 64) // 8, torch.arange(64) % 2
    x[y == 1, :, :, 4:] += 100
    x[y == 0, :, :4, :] += 100
    net = make(kind, (8, 8, 1), 2)
    net.calibrate(x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert (net.eval()(x).argmax(1) == y).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_channels_last_equals_contiguous(kind: type[Net], shape: tuple[int, int, int]) -> None:
    x, y = bytes_of(shape), torch.arange(4)
    scored, trained = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = make(kind, shape).eval()
        net.calibrate(bytes_of(shape, 50))  # filters that are copies of pixels tie in the pooling
        net.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        scored.append(net(x.contiguous(memory_format=layout)).detach())
        net.train().double()  # batch norm over four pictures amplifies float32 rounding
        nn.functional.cross_entropy(net(x.contiguous(memory_format=layout)), y).backward()
        trained.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(scored[0], scored[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-6, atol=1e-9)
