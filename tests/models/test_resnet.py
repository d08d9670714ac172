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


def test_gelu_is_its_tanh_form_and_an_unknown_activation_is_named() -> None:
    stage = Stage(4, 4, 2, "gelu").eval()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    y = stage.norms[0](torch.nn.functional.max_pool2d(stage.convs[0](x), 2))
    y = torch.nn.functional.gelu(y, approximate="tanh")
    y = y + torch.nn.functional.gelu(stage.norms[1](stage.convs[1](y)), approximate="tanh")
    torch.testing.assert_close(stage(x), y)
    with pytest.raises(InputTrouble, match=r"resnet\.activation silu: not known; it is one of relu, gelu"):
        ResNet((16, 16, 3), 10, activation="silu")
