"""The rate band: its edge is that of the mathematics where there is one, it places a rate, and it leaves no trace."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn import chance
from gradlearn.band import Band, band, bound_of
from gradlearn.errors import InputTrouble
from gradlearn.learn import choices_of, planned, task_of
from gradlearn.loop import Descent, train
from gradlearn.optimizer import pack
from gradlearn.plan import Plan

FULL = {"update": "sgd", "batch": "full"}


def descent(model: nn.Module, data: Any, loss: str = "cross_entropy", **options: Any) -> Descent:
    user = choices_of({"compile": "off"}, {"steps": 100, "inputs": "as given"} | options)
    return planned(task_of(model, data, loss, None, user, None, 0), Plan(user), 0.0)[0]


def least_squares(spectrum: list[float], **options: Any) -> Descent:
    """H = (2 / n) A'A has this spectrum, in a rotated basis."""
    n = len(spectrum)
    g = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0] for _ in range(2))
    a = u @ torch.diag((torch.tensor(spectrum, dtype=torch.float64) * n / 2).sqrt()) @ v
    model = nn.Linear(n, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(1, n, generator=g))
    plain = {"sgd__weight_decay": 0.0} if options.get("update", "sgd") == "sgd" else {}
    return descent(model, (a.float(), torch.zeros(n, 1)), "mse", **(FULL | plain | options))


def pictures() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (96,), generator=g)
    x = torch.randn(96, 1, 6, 6, generator=g) + y[:, None, None, None].float()
    with chance.preserved():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 16), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(16, 3)), (x, y)


@pytest.mark.parametrize(("options", "law"), [
    ({"sgd__momentum": 0.0}, 2.0),
    ({"sgd__momentum": 0.9, "sgd__nesterov": False}, 2.0 * 1.9),
    ({"sgd__momentum": 0.9, "sgd__nesterov": True}, 2.0 * 1.9 / 2.8),
], ids=["plain", "heavy ball", "Nesterov"])  # fmt: skip
def test_the_edge_of_gradient_descent_is_the_one_of_the_curvature_by_products_and_by_trial(options: dict[str, Any], law: float):
    d = least_squares([5.0, 3.0, 0.5, 0.01], lr=0.01, **options)
    found = band(d, steps=40)
    assert found.bound == pytest.approx(law / 5.0, rel=1e-3)
    assert found.edge == found.bound
    good, lost = found.tried
    assert good < 1.1 * found.bound
    assert 0.9 * found.bound < lost < 2.0 * found.bound


def test_the_curvature_is_the_law_only_where_it_is():
    for options in ({"update": "adamw"}, {"batch": 2}, {"clip": 1.0}, {"gradient": "spsa"}):
        assert bound_of(least_squares([5.0, 1.0, 0.1, 0.1], **options)) is None, options
    assert bound_of(least_squares([5.0, 1.0, 0.1, 0.1])) is not None


@pytest.mark.parametrize("times", [1e-4, 1.0, 1e4])
def test_the_edge_does_not_depend_on_the_rate_that_was_chosen(times: float):
    d = least_squares([2.0, 1.0, 0.3], lr=0.3 * times, sgd__momentum=0.0)
    found = band(d, steps=30)
    assert math.sqrt(math.prod(found.tried)) == pytest.approx(1.0, rel=0.25)
    assert found.verdict == {1e-4: "too low", 1.0: "good", 1e4: "too high"}[times]
    assert found.low < 0.3 < found.edge


@pytest.mark.parametrize("update", ["adamw", "split", "soap", "sgd", "prodigy", "schedule_free"])
@pytest.mark.parametrize("begun", [0, 7])
def test_nothing_is_changed_by_looking(update: str, begun: int):
    model, data = pictures()
    d = descent(model, data, update=update, batch=16)
    for step in train(d) if begun else ():
        if step.t + 1 == begun:
            break
    before, order = state(d), [d.batches(d.now()).tolist()]
    other = copy.deepcopy([d.t, d.seen, d.controls, d.history.loss, len(d.ring), [m.training for m in d.theta.model.modules()]])
    found = band(d, steps=5)
    after = state(d)
    assert before.keys() == after.keys()
    assert [k for k in before if before[k].numpy().tobytes() != after[k].numpy().tobytes()] == []
    assert order == [d.batches(d.now()).tolist()]
    assert other == [d.t, d.seen, d.controls, d.history.loss, len(d.ring), [m.training for m in d.theta.model.modules()]]
    assert len(found.trials) > 3
    d.theta.release()


def state(d: Descent) -> dict[str, Tensor]:
    tensors, groups = pack(d.update)
    numbers = [v for g in groups for v in g.values() if isinstance(v, float)]
    parts = {f"model {k}": v for k, v in d.theta.tensors().items()} | {f"update {k}": v for k, v in tensors.items()}
    parts |= {f"average {k}": v for k, v in d.average.state().items()} | {"random": torch.get_rng_state()}
    parts |= {f"grad {i}": b.grad for i, b in enumerate(d.theta.blocks)} | {"groups": torch.tensor(numbers, dtype=torch.float64)}
    return {k: v.clone() for k, v in parts.items()}


def test_a_run_goes_on_after_a_look_as_if_there_had_been_none():
    ends = []
    for looked in (False, True):
        model, data = pictures()
        d = descent(model, data, batch=16, steps=20)
        for step in train(d):
            if looked and step.t in (0, 9):
                band(d, steps=5)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*ends)


def test_a_rate_crawls_below_a_tenth_of_the_best_gain():
    found = band(least_squares([1.0, 1.0, 1.0], lr=0.5, sgd__momentum=0.0), steps=20)
    most = max(t.gain for t in found.trials)
    assert all((t.gain < 0.1 * most) == (t.rate < found.low) for t in found.trials if t.rate <= found.best)
    halved = 1.0 - math.sqrt(1.0 - 0.1)  # the loss is start (1 - rate)^2k, k the 15 to 19 steps before the losses compared
    assert found.low == pytest.approx(halved / 17, rel=0.2)


def test_data_that_draw_do_not_move_the_random_state():
    d = least_squares([1.0, 0.5], lr=0.1)

    class Drawing:
        def __len__(self) -> int:
            return 2

        def __call__(self, index: Tensor, draw: int) -> Any:
            torch.rand(3)
            return inner(index, draw)

    inner, d.data = d.data, Drawing()
    random = torch.get_rng_state()
    band(d, steps=5)
    assert torch.equal(random, torch.get_rng_state())


def test_where_nothing_can_be_gained_it_says_so():
    d = least_squares([1.0, 0.5], lr=0.1, sgd__momentum=0.0)
    with torch.no_grad():
        d.theta.blocks[0].flat.zero_()
    found = band(d, steps=5)
    assert found.verdict == "unknown"
    assert "No rate from" in found.explain()
    assert "NaN" not in json.dumps(found.document(), allow_nan=False)


def test_time_bounds_the_trials():
    model, data = pictures()
    d = descent(model, data, batch=16)
    assert len(band(d, steps=10, seconds=1e-9).trials) == 1
    assert band(d, seconds=1e-9).steps == 5
    d.theta.release()


def test_probe_takes_a_module_and_leaves_it_alone(tmp_path: Path):
    model, data = pictures()
    model[0].weight.grad = torch.ones(4, 1, 3, 3)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = gradlearn.probe(model, data, lr=100.0, time="1s")
    assert isinstance(found, Band)
    assert (found.verdict, found.chosen) == ("too high", 100.0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert bool((model[0].weight.grad == 1.0).all())
    assert found.picture(tmp_path / "band.svg").read_text().startswith("<svg ")
    assert list(found.rates) == sorted(found.rates)
    assert len(found.losses) == len(found.rates)


def test_what_probe_cannot_take_is_said():
    model, (x, y) = pictures()
    with pytest.raises(InputTrouble, match="probe: takes no 'run'; use fit"):
        gradlearn.probe(model, (x, y), run="runs/x")
    with pytest.raises(InputTrouble, match="--time soon"):
        gradlearn.probe(model, (x, y), time="soon")
    with pytest.raises(InputTrouble, match="probe: the loss is not finite before the first step"):
        gradlearn.probe(model, (x * math.nan, y), valid=None)
