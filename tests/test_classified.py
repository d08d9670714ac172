from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gradlearn.classified import Answers, interface, log_probabilities


def pictures(n: int = 3, side: int = 9) -> torch.Tensor:
    return torch.randint(0, 256, (n, 2, side, side + 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Linear(2 * 9 * 10, 4)
    nn.init.normal_(layer.weight, std=0.003)
    return nn.Sequential(nn.Flatten(), layer)


class OfFloats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.float() - 127.5)


def test_moved_views_are_those_of_a_picture_padded_by_reflection() -> None:
    x = pictures()
    for shift in (1, 2, 3):
        there = F.pad(x.float(), (shift,) * 4, mode="reflect")
        as_it_is, back, forth = Answers.views(x, False, shift)
        assert as_it_is is x
        assert torch.equal(back.float(), there[:, :, 2 * shift :, 2 * shift :])
        assert torch.equal(forth.float(), there[:, :, : -2 * shift, : -2 * shift])


def test_every_view_has_its_mirror_image() -> None:
    views = Answers.views(pictures(), True, 2)
    assert len(views) == 6
    for view, mirrored in zip(views[:3], views[3:], strict=True):
        assert torch.equal(view.flip(3), mirrored)
    assert len(Answers.views(pictures(), True, 0)) == 2
    assert len(Answers.views(pictures(), False, 0)) == 1


def test_answers_are_the_mean_over_views_of_the_probabilities_and_the_logits_of_the_picture() -> None:
    net, x = OfFloats(), pictures()
    with torch.no_grad():
        for mirror, shift in ((False, 0), (True, 0), (False, 2), (True, 1)):
            expected = torch.stack([net(view).softmax(1) for view in Answers.views(x, mirror, shift)]).mean(0)
            probabilities, logits = Answers(net, mirror, shift)(x)
            torch.testing.assert_close(probabilities, expected)
            torch.testing.assert_close(log_probabilities(net, x, mirror, shift).exp(), expected)
            assert torch.equal(logits, net(x))


def test_a_card_says_every_view_and_one_of_an_older_run_has_no_moved_ones() -> None:
    card = {"shape": [9, 10, 2], "classes": ["a", "b"], "options": {}, "mirror_score": True}
    told = interface(card | {"shift_score": 2})
    assert told["answers"] == {"mirror": True, "shift": 2}
    assert told["outputs"]["probabilities"].endswith(
        "the mean over the picture and its mirror image and all of them moved by 2 to either side"
    )
    assert interface(card)["answers"] == {"mirror": True, "shift": 0}
    assert interface(card)["outputs"]["probabilities"].endswith("the mean over the picture and its mirror image")
