"""Point: what is gained downhill is what the closed form says, and theta stays where it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradlearn.curvature import around, downhill
from gradlearn.symbols import Batch, Losses


class Bowl:
    """|theta - x|^2 / 2 of each example: the minimum of a batch is its mean."""

    def __init__(self, x: Tensor) -> None:
        self.model = nn.Linear(1, x.shape[1], bias=False)
        with torch.no_grad():
            self.model.weight.fill_(3.0)
        self.x = x

    def data(self, index: Tensor, draw: int) -> Batch:
        return Batch(self.x[index], torch.zeros(len(index)), index, draw)

    def __call__(self, batch: Batch) -> Losses:
        away = self.model.weight[:, 0] - batch.x
        return Losses(away.square().sum(1) / 2, torch.ones(batch.n))


class Told(Bowl):
    """Knows how many examples there are, as data do."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        own = self.data

        class Data:
            def __len__(self) -> int:
                return len(x)

            def __call__(self, index: Tensor, draw: int) -> Batch:
                return own(index, draw)

        self.data = Data()  # type: ignore[assignment]


def test_steps_downhill_end_at_the_minimum_of_a_bowl():
    g = torch.Generator().manual_seed(0)
    bowl = Bowl(torch.randn(64, 4, generator=g))
    batch = bowl.data(torch.arange(64), 1)
    x = downhill(bowl, [batch] * 30)
    torch.testing.assert_close(x, bowl.x.mean(0), rtol=0.0, atol=1e-3)
    assert bool((bowl.model.weight == 3.0).all())


def test_a_place_is_told_by_its_slope_and_both_curvatures():
    g = torch.Generator().manual_seed(0)
    bowl = Told(torch.randn(200, 4, generator=g))
    found = around(bowl, 100, 8)  # type: ignore[arg-type]
    assert abs(found["smallest"] - 1.0) < 1e-4
    assert abs(found["largest"] - 1.0) < 1e-4
    assert abs(found["gradient"] - torch.linalg.vector_norm(3.0 - bowl.x[:200:2].mean(0)).item()) < 1e-3
    assert 0.8 * 0.5 * found["gradient"] ** 2 < found["down"] < 1.2 * 0.5 * found["gradient"] ** 2
    assert found["agree"] > 0.95
