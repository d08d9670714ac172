"""The door: everything that plug-ins may have is behind it."""

from __future__ import annotations

import gradlearn.curvature as door


def test_every_name_is_there_and_says_what_it_is():
    assert len(set(door.__all__)) == len(door.__all__)
    for name in door.__all__:
        assert getattr(door, name).__doc__ if callable(getattr(door, name)) else getattr(door, name), name


def test_the_whole_way_from_an_objective_to_a_certificate():
    import torch

    from gradlearn.symbols import Batch, Losses

    class Line:
        model, data = torch.nn.Linear(2, 1), None

        def __call__(self, batch: Batch) -> Losses:
            return Losses((self.model(batch.x)[:, 0] - batch.y).square(), torch.ones(batch.n))

    x = torch.tensor([[0.0, 1], [1, 0], [1, 1], [2, 1]])
    f, start = door.function_of(Line(), Batch(x, x.sum(1), torch.arange(4)))
    assert door.certify(f, start).verdict == "not converged"
    least = door.certify(f, torch.tensor([1.0, 1, 0]).double())
    assert least.verdict == "minimum"
    assert least.loss == 0
    assert least.smallest > 0
