"""A Pilot in loops of somebody else's: bit for bit without trouble, as if the bad batch had been left out with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradlearn
from gradlearn import Pilot
from gradlearn.errors import InputTrouble, NumericsTrouble
from gradlearn.find import find, names

Make = Callable[[Any], torch.optim.Optimizer]
STEPS, BATCH = 24, 16


class Nested(torch.optim.SGD):
    """Calls the step of the class it is made from: hooks run twice."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Restless(torch.optim.Optimizer):
    """Moves what has no gradient, counts in its groups, makes state as it goes."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.05, "k": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if closure is not None:
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            group["k"] += 1
            for p in group["params"]:
                self.state[p].setdefault("n", torch.zeros(())).add_(1)
                self.state[p].setdefault("kept", {})["last"] = p.clone()
                p.mul_(1.0 - 0.01 / group["k"])
                if p.grad is not None:
                    p.sub_(p.grad, alpha=group["lr"])


class Sharp(torch.optim.Optimizer):
    """Moves before it asks its closure, as SAM does."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.05})

    @torch.no_grad()
    def step(self, closure: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        length = torch.stack([p.grad.norm() for p in params]).norm().item()
        for p in params:
            self.state[p]["old"] = p.clone()
            p.add_(p.grad, alpha=0.05 / length)
        with torch.enable_grad():
            closure()
        for p in params:
            p.copy_(self.state[p]["old"])
            p.sub_(p.grad, alpha=self.param_groups[0]["lr"])


def matrices(params: Any) -> list[Tensor]:
    return [p for p in params if p.ndim == 2]


OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, 1e-2),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-2),
    "AdamW fused": lambda p: torch.optim.AdamW(p, 1e-2, fused=True),
    "Muon": lambda p: torch.optim.Muon(matrices(p), 1e-2),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-2, momentum=0.9),
    "NAdam": lambda p: torch.optim.NAdam(p, 1e-2),
    "Rprop": lambda p: torch.optim.Rprop(p, 1e-2),
    "L-BFGS": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=4),
    "L-BFGS, Wolfe": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=4, line_search_fn="strong_wolfe"),
    "nested": lambda p: Nested(p, 0.1, momentum=0.9),
    "restless": Restless,
    "ours: split": lambda p: find("update", "split")(list(p), lr=1e-2),
    "ours: adamw": lambda p: find("update", "adamw")(list(p), lr=1e-2),
    "ours: schedule_free": lambda p: find("update", "schedule_free")(list(p), lr=1e-2),
}
NEED_CLOSURE = ("L-BFGS", "L-BFGS, Wolfe")
every = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    log = logging.getLogger("gradlearn.pilot")
    log.disabled = True
    yield
    log.disabled = False


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))


def examples(steps: int = STEPS) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(steps * BATCH, 6, generator=chance)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def loop(
    make: Make,
    pilot: bool,
    bad: tuple[int, ...] = (),
    left: tuple[int, ...] = (),
    closure: bool = False,
    **options: Any,
) -> tuple[nn.Module, Pilot | None, torch.optim.Optimizer]:
    """A plain loop; batches `bad` hold a NaN, batches `left` are left out."""
    model = network()
    optimizer = make(model.parameters())
    watch = Pilot(model, optimizer, **options) if pilot else None
    x, y = examples()
    for i in range(STEPS):
        if i in left:
            continue
        a, b = x[i * BATCH : (i + 1) * BATCH].clone(), y[i * BATCH : (i + 1) * BATCH]
        if i in bad:
            a[3] = float("nan")

        def evaluate(a: Tensor = a, b: Tensor = b) -> Tensor:
            loss = nn.functional.cross_entropy(model(a), b)
            optimizer.zero_grad()
            loss.backward()
            if watch is not None:
                watch.see(loss)
            return loss

        if closure:
            optimizer.step(evaluate)  # pyright: ignore[reportCallIssue, reportArgumentType]
        else:
            evaluate()
            optimizer.step()
    return model, watch, optimizer


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def state_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    found = [v for own in optimizer.state_dict()["state"].values() for v in own.values()]
    return [t for v in found for t in (v if isinstance(v, list) else [v]) if isinstance(t, Tensor)]


def same_state(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state_of(a), state_of(b), strict=True))


# ---- nothing wrong


@every
@pytest.mark.parametrize("closure", [False, True])
def test_with_nothing_wrong_every_bit_is_as_without_it(name: str, closure: bool):
    closure = closure or name in NEED_CLOSURE
    with_it, watch, one = loop(OPTIMIZERS[name], True, closure=closure, without=("clip", "unstable"))
    without, _, other = loop(OPTIMIZERS[name], False, closure=closure)
    assert watch is not None
    assert watch.actions == []
    assert equal(with_it, without)
    assert same_state(one, other)
    assert len(watch.history.loss) == STEPS
    assert all(watch.history.applied)


def test_it_is_a_public_name():
    assert gradlearn.Pilot is Pilot


# ---- a bad batch


@every
@pytest.mark.parametrize("closure", [False, True])
def test_a_bad_batch_is_as_if_it_had_been_left_out(name: str, closure: bool):
    closure, bad = closure or name in NEED_CLOSURE, (0, 7, 13, 14)
    with_it, watch, one = loop(OPTIMIZERS[name], True, bad=bad, closure=closure)
    left_out, _, other = loop(OPTIMIZERS[name], False, left=bad, closure=closure)
    assert watch is not None
    assert [t for t, ok in enumerate(watch.history.applied) if not ok] == list(bad)
    assert [f.t for f in watch.findings if f.name == "non-finite"] == list(bad)
    assert equal(with_it, left_out)
    assert same_state(one, other)
    hurt, _, _ = loop(OPTIMIZERS[name], False, bad=bad, closure=closure)
    assert not equal(hurt, left_out)  # without a Pilot it does harm


@pytest.mark.parametrize("name", [n for n in names("update") if n not in ("lbfgs", "momo", "momo_adam")])
def test_every_update_of_ours_can_be_blocked(name: str):
    closure = name == "line_search"
    with_it, _, _ = loop(lambda p: find("update", name)(list(p), lr=1e-2), True, bad=(3, 9), closure=closure)
    left_out, _, _ = loop(lambda p: find("update", name)(list(p), lr=1e-2), False, left=(3, 9), closure=closure)
    assert equal(with_it, left_out)


def test_an_optimizer_that_moves_before_it_evaluates_is_taken_back():
    def run(watched: bool, bad: tuple[int, ...], left: tuple[int, ...]) -> nn.Module:
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        with torch.no_grad():
            for i, p in enumerate(model.parameters()):
                p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape) * (i + 1) / 4)
        optimizer = Sharp(model.parameters())
        watch = Pilot(model, optimizer) if watched else None
        x, y = examples()
        for i in range(STEPS):
            if i in left:
                continue
            a, b = x[i * BATCH : (i + 1) * BATCH].clone(), y[i * BATCH : (i + 1) * BATCH]
            a[3] = float("nan") if i in bad else a[3]

            def evaluate(a: Tensor = a, b: Tensor = b) -> Tensor:
                loss = nn.functional.cross_entropy(model(a), b)
                optimizer.zero_grad()
                loss.backward()
                return loss

            loss = evaluate()
            if watch is not None:
                watch.see(loss)
            optimizer.step(evaluate)
        return model

    assert equal(run(True, (), ()), run(False, (), ()))
    assert equal(run(True, (7, 15), ()), run(False, (), (7, 15)))


def test_a_line_that_runs_into_the_infinite_is_taken_back():
    w = nn.Parameter(torch.tensor([0.5]))
    model = nn.Module()
    model.w = w
    optimizer = torch.optim.LBFGS([w], lr=1.0, max_iter=4)
    watch = Pilot(model, optimizer)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = torch.log(w - 0.49).sum() * 100.0  # the first step jumps over the edge: the logarithm of a negative number
        loss.backward()
        watch.see(loss)
        return loss

    optimizer.step(evaluate)  # pyright: ignore[reportArgumentType]
    assert w.item() == 0.5
    assert watch.history.applied == [False]
    assert state_of(optimizer) == []
    assert [f.name for f in watch.findings] == ["non-finite"]


def test_the_gradient_comes_back_to_the_loop_as_the_very_object():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Pilot(model, optimizer)
    x, y = examples()
    loss = nn.functional.cross_entropy(model(x[:16] * float("nan")), y[:16])
    loss.backward()
    grads = [p.grad for p in model.parameters()]
    watch.see(loss)
    optimizer.step()
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))


def test_examples_are_named():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Pilot(model, optimizer)
    loss = model(torch.full((4, 6), float("nan"))).sum()
    loss.backward()
    watch.see(loss, examples=torch.tensor([5, 9, 2, 7]))
    optimizer.step()
    assert watch.findings[0].evidence["examples"] == [5, 9, 2, 7]
    assert "5, 9, 2, 7" in watch.actions[0].why


# ---- what is told and what is not


def test_several_losses_before_a_step_are_averaged_and_evaluation_is_not_counted():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Pilot(model, optimizer)
    for value in (1.0, 2.0, torch.tensor([3.0, 5.0])):
        (model(torch.ones(1, 2)).sum() / 3).backward()
        watch.see(value)
    with torch.no_grad():
        watch.see(100.0)
    optimizer.step()
    assert watch.history.loss == [pytest.approx((1 + 2 + 4) / 3)]


def test_a_closures_own_loss_is_taken_where_nobody_tells_one():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    watch = Pilot(model, optimizer)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).sum().square() + 7.0
        loss.backward()
        return loss

    first = evaluate().item()
    optimizer.step(evaluate)  # pyright: ignore[reportArgumentType]
    assert watch.history.loss == [first]


def test_without_any_loss_only_gradients_are_watched():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = Pilot(model, optimizer)
    for t in range(60):
        optimizer.zero_grad()
        (model(torch.full((1, 2), float("nan") if t == 30 else 1.0)).sum().square()).backward()
        optimizer.step()
    assert [t for t, ok in enumerate(watch.history.applied) if not ok] == [30]
    assert [f.name for f in watch.findings] == ["non-finite"]
    assert "Nobody said what the loss is" in watch.explain()
    assert watch.steering.ring[-1].t == 50  # not knowing the loss is no reason not to remember


def test_a_wrong_loss_or_optimizer_or_name_is_refused():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for given in ((model, model), (optimizer, optimizer)):
        with pytest.raises(InputTrouble, match=r"expected an nn\.Module and a torch optimizer"):
            Pilot(*given)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputTrouble, match="rewind"):
        Pilot(model, optimizer, without=("rewnd",))
    with pytest.raises(InputTrouble, match="stop='never'"):
        Pilot(model, optimizer, stop="never")
    with pytest.raises(InputTrouble, match=r"Pilot\.see: expected a tensor or a number, got str"):
        Pilot(model, optimizer).see("low")  # pyright: ignore[reportArgumentType]


# ---- rates, rewinds


def quadratic(pilot: bool, spike: float, steps: int = 400, **options: Any) -> tuple[float, Pilot | None, list[float]]:
    """Least squares whose rate a schedule sets, times `spike` in steps 150 to 169: (last loss, pilot, rates as the loop sees)."""
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    y = x @ torch.randn(8, 1)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)  # compounds whatever it finds
    watch = Pilot(model, optimizer, **options) if pilot else None
    rates, loss = [], torch.zeros(())
    for t in range(steps):
        rows = torch.arange(t * 32, t * 32 + 32) % 256
        hurt = spike if 150 <= t < 170 else 1.0
        optimizer.param_groups[0]["lr"] *= hurt
        loss = (model(x[rows]) - y[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if watch is not None:
            watch.see(loss)
        optimizer.step()
        optimizer.param_groups[0]["lr"] /= hurt
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return (model(x) - y).square().mean().item(), watch, rates


def test_a_spike_of_the_rate_is_rewound_and_recovered_from():
    clean, _, _ = quadratic(False, 1.0)
    lost, _, _ = quadratic(False, 100.0)
    back, watch, _ = quadratic(True, 100.0)
    assert watch is not None
    assert not lost < 1.0
    assert back < 10 * clean + 1e-6
    assert watch.history.count("rewind") >= 1
    assert "rewound" in watch.explain()


def test_the_rate_dial_is_never_compounded_by_a_schedule():
    _, _, plain = quadratic(False, 1.0)
    _, watch, rates = quadratic(True, 100.0)
    assert watch is not None
    dials = [a.after for a in watch.actions if a.dial == "rate"]
    assert min(dials) == pytest.approx(0.01, rel=0.1), "while the rate was a hundred times what it had been"
    dial = watch.steering.controls.rate
    assert dial == 1.0, "the rate is down by itself again"
    assert rates == pytest.approx(plain, rel=1e-9)
    assert watch.history.lr[-1] == pytest.approx(plain[-1] * dial, rel=1e-9)


@pytest.mark.parametrize("tensor", [False, True])
def test_the_factor_holds_in_the_step_and_nowhere_else(tensor: bool):
    w = nn.Parameter(torch.zeros(1))
    model = nn.Module()
    model.w = w
    lr = torch.tensor(0.5) if tensor else 0.5
    optimizer = torch.optim.SGD([{"params": [w], "lr": lr}], lr=0.1)
    watch = Pilot(model, optimizer)
    watch.steering.controls.rate = 0.25
    w.grad = torch.ones(1)
    optimizer.step()
    assert w.item() == -0.125
    assert float(optimizer.param_groups[0]["lr"]) == 0.5
    assert optimizer.param_groups[0]["lr"] is lr


def plain_weight() -> tuple[nn.Parameter, torch.optim.SGD, Pilot]:
    """Two numbers from zero on, moved by their gradient, and a Pilot."""
    w = nn.Parameter(torch.zeros(2))
    model = nn.Module()
    model.w = w
    optimizer = torch.optim.SGD([w], lr=1.0)
    return w, optimizer, Pilot(model, optimizer)


def test_the_clip_dial_bounds_the_gradient_in_place():
    w, optimizer, watch = plain_weight()
    watch.steering.controls.clip = 1.0
    w.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert torch.allclose(w, torch.tensor([-0.6, -0.8]))
    assert watch.history.norm == [5.0]


def test_a_gradient_beyond_all_that_the_run_has_shown_is_left_out_as_in_our_loop():
    w, optimizer, watch = plain_weight()
    for grad, said in (([3.0, 4.0], "five times the bound: cut to it"), ([30.0, 40.0], "fifty times: left out")):
        watch.steering.controls.bound = 1.0  # a remedy renews it at every snapshot
        w.grad = torch.tensor(grad)
        optimizer.step()
        assert torch.allclose(w, torch.tensor([-0.6, -0.8])), said
    assert watch.history.norm == [5.0, 50.0]


def test_a_rate_that_was_cooled_comes_back():
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    watch = Pilot(model, optimizer, snapshot=10)
    x, y = examples()
    dials = []
    for t in range(500):
        if t == 60:
            with torch.no_grad():
                for p in model.parameters():
                    p.mul_(-20.0)
        loss = nn.functional.cross_entropy(model(x[:16]), y[:16])
        optimizer.zero_grad()
        loss.backward()
        watch.see(loss)
        optimizer.step()
        dials.append(watch.steering.controls.rate)
    assert "rewind" in [a.name for a in watch.actions]
    assert min(dials) < 1.0, "it was cooled"
    assert "recover" in [a.name for a in watch.actions]
    assert dials[-1] > min(dials)


def test_a_rewind_puts_everything_back_in_place():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    watch = Pilot(model, optimizer, snapshot=10)
    x, y = examples()
    kept: dict[float, list[Tensor]] = {}
    pointers: list[int] = []
    for t in range(24):
        kept[t] = [v.clone() for v in (*model.state_dict().values(), *state_of(optimizer))]
        pointers = [p.data_ptr() for p in (*model.state_dict().values(), *state_of(optimizer))]
        bad = t >= 21
        loss = nn.functional.cross_entropy(model(x[:16] * (float("nan") if bad else 1.0)), y[:16])
        optimizer.zero_grad()
        loss.backward()
        watch.see(loss)
        optimizer.step()
    assert [a.name for a in watch.actions] == ["skip", "skip", "rewind", "turn"]
    back = watch.actions[2].after
    assert back in (10.0, 20.0)
    now = [*model.state_dict().values(), *state_of(optimizer)]
    assert all(torch.equal(a, b) for a, b in zip(now, kept[back], strict=True))
    assert [p.data_ptr() for p in (*model.state_dict().values(), *state_of(optimizer))] == pointers
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_weights_that_are_broken_behind_its_back_come_back():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    watch = Pilot(model, optimizer, snapshot=10)
    x, y = examples()
    for t in range(40):
        if t == 25:
            state_of(optimizer)[2].view(-1)[0] = float("nan")  # of the first parameter: step, first moment, second moment
        loss = nn.functional.cross_entropy(model(x[:32]), y[:32])
        optimizer.zero_grad()
        loss.backward()
        watch.see(loss)
        optimizer.step()
    assert watch.history.count("rewind") == 1
    assert all(torch.isfinite(t).all() for t in (*model.state_dict().values(), *state_of(optimizer)))
    assert watch.history.applied[-5:] == [True] * 5


def test_it_gives_up_with_good_weights_and_holds_or_raises():
    def run(stop: str) -> tuple[Pilot, nn.Module, int]:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watch = Pilot(model, optimizer, stop=stop)
        x, y = examples()
        t = 0
        try:
            for t in range(60):
                loss = nn.functional.cross_entropy(model(x[:16] * (float("inf") if t > 9 else 1.0)), y[:16])
                optimizer.zero_grad()
                loss.backward()
                watch.see(loss)
                optimizer.step()
        except NumericsTrouble:
            return watch, model, t
        return watch, model, 60

    watch, model, t = run("hold")
    assert watch.stopped
    assert t == 60
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    assert "given up" in watch.explain()
    raised, model, t = run("raise")
    assert raised.stopped
    assert t < 30
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


def test_without_acting_it_blocks_and_tells_and_does_no_more():
    model, watch, _ = loop(OPTIMIZERS["AdamW"], True, bad=(5, 6, 7, 8), act=False)
    left, _, _ = loop(OPTIMIZERS["AdamW"], False, left=(5, 6, 7, 8))
    assert watch is not None
    assert watch.actions == []
    assert len([f for f in watch.findings if f.name == "non-finite"]) == 4
    assert equal(model, left)


# ---- other people's arrangements


def test_groups_that_come_later_ties_and_parameters_without_gradient():
    first, second, tied = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    tied.weight = first.weight
    model = nn.ModuleList([first, second, tied])
    idle = nn.Parameter(torch.ones(3))
    model.register_parameter("idle", idle)
    optimizer = torch.optim.SGD([*first.parameters(), idle], 0.1, momentum=0.9)
    watch = Pilot(model, optimizer, snapshot=5)
    for t in range(18):
        if t == 7:
            optimizer.add_param_group({"params": [*second.parameters(), tied.bias], "lr": 0.01})
        x = torch.full((2, 4), float("nan") if t >= 15 else 1.0)
        loss = tied(second(first(x))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        watch.see(loss)
        optimizer.step()
    assert watch.history.count("rewind") == 1
    assert len(watch.theta.params()) == 6
    assert torch.equal(idle, torch.ones(3))
    assert tied.weight is first.weight
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_sparse_gradients_count_in_the_norm():
    table = nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), 0.1)
    watch = Pilot(table, optimizer)
    loss = table(torch.tensor([1, 1, 2])).sum()
    loss.backward()
    watch.see(loss)
    optimizer.step()
    assert watch.history.norm == [pytest.approx((3 * 4 + 3) ** 0.5)]
    assert "sparse" in watch.explain()
    before = table.weight.clone()
    optimizer.zero_grad()
    loss = table(torch.tensor([4])).sum() * float("nan")
    loss.backward()
    optimizer.step()
    assert torch.equal(table.weight, before)
    assert watch.history.applied == [True, False]


def test_wrapped_optimizers_are_looked_through():
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model = nn.Linear(2, 1)
    own = torch.optim.SGD(model.parameters(), 0.1)
    assert Pilot(model, Wrapper(own)).optimizer is own


def scaled(fused: bool, pilot: bool, bad: tuple[int, ...] = (), left: tuple[int, ...] = (), scale: float = 1024.0) -> Any:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)  # pyright: ignore[reportPrivateImportUsage]
    watch = Pilot(model, optimizer, also=(scaler,)) if pilot else None
    x, y = examples()
    for i in range(STEPS):
        if i in left:
            continue
        a = x[i * BATCH : (i + 1) * BATCH] * (float("nan") if i in bad else 1.0)
        loss = 16 * nn.functional.cross_entropy(model(a), y[i * BATCH : (i + 1) * BATCH])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if watch is not None:
            watch.see(loss)
        scaler.step(optimizer)
        scaler.update()
    return model, watch


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_changes_nothing_and_its_scale_is_divided_out(fused: bool):
    plain, _ = scaled(fused, False)
    model, watch = scaled(fused, True)
    _, unscaled, _ = loop(OPTIMIZERS["AdamW fused" if fused else "AdamW"], True)
    assert equal(model, plain)
    assert unscaled is not None
    assert watch.history.norm[0] == pytest.approx(16 * unscaled.history.norm[0], rel=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_leaves_out_are_no_faults(fused: bool):
    plain, _ = scaled(fused, False, scale=2.0**127)  # overflows until it has been halved a few times
    model, watch = scaled(fused, True, scale=2.0**127)
    assert equal(model, plain)
    assert [f for f in watch.findings if f.name == "non-finite"] == []
    assert all(watch.history.applied)
    hurt, watch = scaled(fused, True, bad=(7,))
    assert torch.isfinite(hurt[0].weight).all()
    assert not fused or not watch.history.applied[7]


def test_an_exception_within_a_step_leaves_no_factor_behind():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    watch = Pilot(model, optimizer)
    watch.steering.controls.rate = 0.5

    def fails() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(fails)
    watch.see(1.0)
    assert optimizer.param_groups[0]["lr"] == 0.5
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert len(watch.history.loss) == 1


def test_after_detaching_it_sees_nothing():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Pilot(model, optimizer)
    watch.detach()
    model(torch.full((1, 2), float("nan"))).sum().backward()
    optimizer.step()
    assert watch.history.loss == []
    assert torch.isnan(model.weight).all()
    assert optimizer._optimizer_step_pre_hooks == {}
    assert optimizer._optimizer_step_post_hooks == {}
    assert "No step" in watch.explain()


# ---- checks


def test_a_check_that_cannot_look_is_left_out_and_said():
    _, watch, _ = loop(OPTIMIZERS["AdamW"], True)
    assert watch is not None
    assert "finite" in watch.steering.checks
    for name, why in watch.steering.left_out.items():
        assert name not in watch.steering.checks
        assert f"({why})" in watch.explain()
    _, less, _ = loop(OPTIMIZERS["AdamW"], True, without=("divergence",))
    assert less is not None
    assert "divergence (as asked)" in less.explain()


def test_a_check_that_breaks_does_not_end_the_loop():
    class Broken:
        every, cost = 1, 0.0

        def measure(self, *given: Any) -> None:
            raise ZeroDivisionError("no way")

    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Pilot(model, optimizer)
    watch.steering.checks["broken"] = Broken()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert watch.steering.left_out["broken"] == "no way"
    assert "broken" not in watch.steering.checks


def test_what_only_the_owner_can_do_is_advice():
    from gradlearn.symbols import Action, Finding

    class Larger:
        answers = ("unstable",)

        def __call__(self, *given: Any) -> list[Action]:
            return [Action(0, "turn", "batches of 64 after 32", "batch", 32, 64)]

    model = nn.Linear(2, 1)
    watch = Pilot(model, torch.optim.SGD(model.parameters(), 0.1))
    watch.steering.remedies = [Larger()]
    watch.steering.history.loss.append(1.0)
    watch.steering._answer(Finding(0, "unstable", "warn", "w", "y", "r"))
    assert watch.actions == []
    assert "batches of 64 after 32" in watch.explain()


def test_after_a_rewind_a_batch_far_above_what_the_weights_have_shown_is_left_out_once():
    w, optimizer, watch = plain_weight()
    watch.steering.controls.most = 2.0  # `guard`, after a rewind
    for loss, moved, said in ((5.0, False, "above it: left out"), (1.0, True, "one that is as it should be"), (5.0, True, "over")):
        before = w.detach().clone()
        w.grad = torch.tensor([0.3, 0.4])
        watch.see(loss)
        optimizer.step()
        assert bool((w != before).all()) is moved, said
    assert watch.history.applied == [False, True, True]
    assert not watch.findings, "no number is at fault"
    assert watch.steering.controls.most == 0.0
