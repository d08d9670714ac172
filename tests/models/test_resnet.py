from __future__ import annotations

import pytest
import torch
from torch import nn

from gradlearn.errors import InputTrouble
from gradlearn.models.resnet import ResNet, Stage, patch_of
from gradlearn.pixels import whitening

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


def make(shape: tuple[int, int, int], classes: int = 10, width: int = 8, seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(shape, classes, width)


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
        net.calibrate(bytes_of(shape, 50))  # filters that are copies of pixels tie in the pooling
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
        ResNet(shape, classes, width)
    assert "\n" not in str(trouble.value)


def test_multiplications_are_those_that_the_convolutions_do() -> None:
    for shape in SHAPES:
        net = make(shape)
        first = torch.nn.functional.conv2d(bytes_of(shape, 1).float(), net.filters, stride=net.stride)
        counted = net.filters.numel() * first[0, 0].numel()

        def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
            nonlocal counted
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            counted += layer.weight.numel() * (out.shape[2] * out.shape[3] if out.ndim == 4 else 1)

        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        net(bytes_of(shape, 2))
        assert net.multiplications == counted


def test_first_layer_whitens_and_is_not_trained() -> None:
    net, x = make((16, 16, 3)), bytes_of((16, 16, 3), 50)
    net.calibrate(x)
    z = (x.float() - net.mean) * net.scale
    assert torch.equal(net.filters, whitening(z, 2, 24))
    assert "filters" in dict(net.named_buffers())
    assert "filters" in net.state_dict()


def test_half_precision_answers_nearly_as_float32_does() -> None:
    torch.manual_seed(0)
    half = ResNet((32, 32, 3), 10, 16, precision="bfloat16")
    whole = ResNet((32, 32, 3), 10, 16)
    whole.load_state_dict(half.state_dict())
    x = bytes_of((32, 32, 3), 8)
    for net in (half, whole):
        net.calibrate(x)
    one, other = half(x), whole(x)
    assert one.dtype == torch.float32
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.05, atol=0.05 * float(other.detach().abs().max()))


def test_half_precision_leaves_a_model_of_double_precision_alone() -> None:
    torch.manual_seed(0)
    half = ResNet((16, 16, 3), 10, 8, precision="bfloat16").double()
    whole = ResNet((16, 16, 3), 10, 8).double()
    whole.load_state_dict(half.state_dict())
    assert torch.equal(half(bytes_of((16, 16, 3))), whole(bytes_of((16, 16, 3))))


def test_a_deeper_stage_adds_what_is_near_nothing_where_its_convolutions_answer_nothing() -> None:
    stage = Stage(4, 4, 3)
    with torch.no_grad():
        for conv in list(stage.convs)[1:]:
            conv.weight.zero_()  # pyright: ignore[reportCallIssue]
    x = torch.randn(2, 4, 8, 8)
    one = Stage(4, 4, 2)
    one.load_state_dict({k: v for k, v in stage.state_dict().items() if ".2." not in k})
    assert torch.equal(stage(x), one(x))


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


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 8, 1), (2, 1, 8)),
        ((32, 32, 3), (2, 1, 24)),
        ((36, 36, 3), (2, 1, 24)),
        ((64, 64, 3), (3, 2, 54)),
        ((128, 160, 3), (4, 4, 64)),
        ((224, 224, 3), (8, 7, 64)),
    ],
)
def test_larger_pictures_have_larger_patches(shape: tuple[int, int, int], expected: tuple[int, int, int]):
    assert patch_of(shape) == expected
    side, stride, _ = expected
    assert (min(shape[:2]) - side) // stride + 1 <= 36
