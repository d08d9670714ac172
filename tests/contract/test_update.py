"""Every update: a torch optimizer in all that people do with one, and torch's own numbers where torch has it."""

from __future__ import annotations

import copy
import inspect
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import sweep
from gradlearn.errors import InputTrouble
from gradlearn.find import describe, find, names
from gradlearn.optimizer import pack, unpack
from gradlearn.symbols import Estimate

NAMES = names("update")
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def torch_twin(name: str) -> type[torch.optim.Optimizer] | None:
    """torch's class of which ours is one."""
    bases = (c for c in find("update", name).__mro__ if c.__module__.startswith("torch.optim.") and c is not torch.optim.Optimizer)
    return next(bases, None)


def settings(update: Any, twin: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """What torch's class is to be made with."""
    return {k: v for k, v in update.defaults.items() if k in inspect.signature(twin.__init__).parameters}


TWINS = [name for name in NAMES if torch_twin(name) and not find("update", name).__dict__.get("needs_closure")]
SHOWN = [name for name in NAMES if hasattr(find("update", name), "shown")]
ONCE = [name for name in NAMES if not getattr(find("update", name), "needs_closure", False)]  # evaluates once a step


def make(name: str, params: Any, lr: float = 0.01, **options: Any) -> Any:
    """The update; `trial` is what its class asks tests to set: a rate that is none, a scale that is found in a hundred steps."""
    return find("update", name)(params, **{"lr": lr, **getattr(find("update", name), "trial", {}), **options})


def take(update: Any) -> None:
    """A step from the gradients that are there, told of a loss; where it evaluates again, of g p + p^2 / 2."""
    if hasattr(update, "observe"):
        update.observe(Estimate(1.0, 1.0, 3))
    if not getattr(update, "needs_closure", False):
        update.step()
        return
    params = [p for group in update.param_groups for p in group["params"] if p.grad is not None]
    base = [p.grad.clone() for p in params]

    def closure() -> float:
        for p, g in zip(params, base, strict=True):
            p.grad = torch.empty_like(g).copy_(g + p.detach())
        return sum((g * p.detach() + 0.5 * p.detach().square()).double().sum().item() for p, g in zip(params, base, strict=True))

    update.step(closure)


def tensors(dtype: torch.dtype = torch.float32, seed: int = 0) -> list[nn.Parameter]:
    """Of many shapes: a scalar, an empty one, a channels_last one."""
    g = torch.Generator().manual_seed(seed)
    shapes = [(5, 3), (7,), (), (0,), (2, 3, 4, 4)]
    made = [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes]
    made[-1] = made[-1].to(memory_format=torch.channels_last)
    return [nn.Parameter(t) for t in made]


def grads(params: list[nn.Parameter], t: int) -> None:
    g = torch.Generator().manual_seed(1000 + t)
    for p in params:
        value = torch.randn(p.shape, generator=g, dtype=torch.float64) * (1 + t % 3)
        p.grad = torch.empty_like(p).copy_(value)


def run(update: Any, params: list[nn.Parameter], begin: int, end: int) -> None:
    for t in range(begin, end):
        grads(params, t)
        for group in update.param_groups:
            group["lr"] = 0.01 * (1 + t % 4)
        take(update)


def groups(params: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.0}]


def same(a: list[nn.Parameter], b: list[nn.Parameter]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def state_of(update: Any) -> dict[tuple[int, str], Tensor]:
    packed = update.state_dict()["state"]
    return {(i, k): v for i, state in packed.items() for k, v in state.items() if isinstance(v, Tensor)}


@pytest.mark.parametrize("name", NAMES)
def test_it_falls_on_a_bowl(name: str):
    centre, stiffness = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 1.0, 2.0])
    x = nn.Parameter(torch.zeros(3))
    update = make(name, [x], lr=0.05)
    losses = []

    def closure() -> float:
        update.zero_grad()
        loss = (0.5 * stiffness * (x - centre).square()).sum()
        loss.backward()
        return loss.item()

    for _ in range(300):
        losses.append(update.step(closure))
    losses.append(closure())
    assert losses[-1] < 0.01 * losses[0]
    assert losses[20] < losses[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TWINS)
def test_a_hundred_steps_are_torchs_own_bitwise(name: str, dtype: torch.dtype):
    a, b = tensors(dtype), tensors(dtype)
    ours = make(name, groups(a))
    twin = torch_twin(name)
    assert twin is not None
    broken = {"fused": False} if (name, dtype) == ("sgd", torch.bfloat16) else {}  # torch's kernel leaves such tensors as they are
    theirs = twin(groups(b), **settings(ours, twin) | broken)
    run(ours, a, 0, 100)
    run(theirs, b, 0, 100)
    assert same(a, b)
    assert not same(a, tensors(dtype))


@pytest.mark.parametrize("name", TWINS)
def test_a_hundred_steps_are_the_plain_formula(name: str):
    """torch's loop over single tensors, in float64, is the formula written out."""
    a, b = tensors(torch.float64), tensors(torch.float64)
    ours = make(name, groups(a))
    twin = torch_twin(name)
    assert twin is not None
    plain = {k: v for k, v in settings(ours, twin).items() if k != "fused"} | {"foreach": False}
    theirs = twin(groups(b), **plain)
    run(ours, a, 0, 100)
    run(theirs, b, 0, 100)
    for p, q in zip(a, b, strict=True):
        assert torch.allclose(p, q, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["state_dict", "pack"])
@pytest.mark.parametrize("name", NAMES)
def test_state_goes_round_bit_for_bit(name: str, way: str, dtype: torch.dtype):
    a = tensors(dtype)
    first = make(name, groups(a))
    run(first, a, 0, 13)
    b = [nn.Parameter(p.detach().clone()) for p in a]
    second = make(name, groups(b), lr=0.5)
    if way == "state_dict":
        second.load_state_dict(copy.deepcopy(first.state_dict()))
    else:
        saved, options = pack(first)
        unpack(second, {k: v.clone() for k, v in saved.items()}, json.loads(json.dumps(options)))  # as a checkpoint keeps them
    before, after = state_of(first), state_of(second)
    assert before.keys() == after.keys()
    if way == "pack":
        assert all(torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)
        assert [{k: v for k, v in g.items() if k != "params"} for g in first.param_groups] == [
            {k: v for k, v in g.items() if k != "params"} for g in second.param_groups
        ]
    run(first, a, 13, 25)
    run(second, b, 13, 25)
    assert same(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_unpack_before_the_first_step_and_back_to_it(name: str):
    """A snapshot taken before step 0 puts an update that has run since back to where it began."""
    a, b = tensors(), tensors()
    update, fresh = (make(name, groups(p)) for p in (a, b))
    tensors0, options = pack(update)
    tensors0 = {k: v.clone() for k, v in tensors0.items()}
    run(update, a, 0, 5)
    with torch.no_grad():
        for p, q in zip(a, b, strict=True):
            p.copy_(q)
    unpack(update, tensors0, options)
    run(update, a, 0, 5)
    run(fresh, b, 0, 5)
    assert same(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_unpacked_state_is_a_copy(name: str):
    a, b = tensors(), tensors()
    first, second = (make(name, groups(p)) for p in (a, b))
    run(first, a, 0, 2)
    unpack(second, *pack(first))
    kept = {k: v.clone() for k, v in state_of(second).items()}
    run(first, a, 2, 4)
    assert all(torch.equal(v, kept[k]) for k, v in state_of(second).items())


@pytest.mark.parametrize("name", NAMES)
def test_groups_decay_by_their_own_weight_decay(name: str):
    a, b = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    update = make(name, [{"params": [a], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0.0}], lr=0.1)
    for _ in range(5):
        for group in update.param_groups:  # small beside the decay, and not zero: some updates rest there
            group["params"][0].grad = torch.full((4,), -1e-3)
        take(update)
    assert (a < b).all()


@pytest.mark.parametrize("name", ["ademamix", "adamw", "nadam", "radam"])
def test_weight_decay_is_not_adapted(name: str):
    """Without a gradient theta shrinks by lr * weight_decay a step, whatever the second moments are."""
    x, y = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    update = make(name, [{"params": [x]}, {"params": [y], "weight_decay": 0.0}], lr=0.1, weight_decay=0.1)
    for _ in range(5):
        x.grad, y.grad = torch.zeros(4), torch.zeros(4)
        update.step()
    assert torch.allclose(x, torch.full((4,), 0.99**5))
    assert torch.equal(y, torch.ones(4))


@pytest.mark.parametrize("name", NAMES)
def test_a_closure_is_called_with_gradients_on_and_its_loss_returned(name: str):
    x = nn.Parameter(torch.ones(2))
    update = make(name, [x], lr=0.1)
    calls = []

    def closure() -> float:
        update.zero_grad()
        loss = x.square().sum()
        loss.backward()
        calls.append(torch.is_grad_enabled())
        return loss.item()

    with torch.no_grad():
        assert update.step(closure) == 2.0
    assert all(calls)
    assert (x < 1.0).all()
    if name in ONCE:
        assert len(calls) == 1
        update.observe(Estimate(1.0, 1.0, 1))
        assert update.step() is None
    else:
        with pytest.raises(InputTrouble, match="closure"):
            update.step()


@pytest.mark.parametrize("name", NAMES)
def test_step_hooks_are_called_around_the_step(name: str):
    a, b = tensors(), tensors()
    update, plain = (make(name, p) for p in (a, b))
    seen: list[tuple[str, float]] = []
    handles = [
        update.register_step_pre_hook(lambda opt, args, kwargs: seen.append(("before", a[0][0, 0].item()))),
        update.register_step_post_hook(lambda opt, args, kwargs: seen.append(("after", a[0][0, 0].item()))),
    ]
    start = a[0][0, 0].item()
    grads(a, 0)
    grads(b, 0)
    take(update)
    take(plain)
    assert seen == [("before", start), ("after", a[0][0, 0].item())]
    assert seen[0][1] != seen[1][1]
    assert same(a, b)
    for handle in handles:
        handle.remove()
    take(update)
    assert len(seen) == 2


@pytest.mark.parametrize("name", NAMES)
def test_hooks_on_all_optimizers_are_called_too(name: str):
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    x = nn.Parameter(torch.ones(2))
    update = make(name, [x], lr=0.1)
    x.grad = torch.ones(2)
    seen: list[str] = []
    handles = [
        register_optimizer_step_pre_hook(lambda opt, args, kwargs: seen.append("before")),
        register_optimizer_step_post_hook(lambda opt, args, kwargs: seen.append("after")),
    ]
    take(update)
    for handle in handles:
        handle.remove()
    take(update)
    assert seen == ["before", "after"]


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_hooks_are_called(name: str):
    update = make(name, [nn.Parameter(torch.ones(2))], lr=0.1)
    seen: list[str] = []
    update.register_state_dict_pre_hook(lambda opt: seen.append("pack"))
    update.register_load_state_dict_post_hook(lambda opt: seen.append("loaded"))
    update.load_state_dict(update.state_dict())
    assert seen == ["pack", "loaded"]


@pytest.mark.parametrize("name", NAMES)
def test_it_works_in_a_loop_that_someone_else_wrote(name: str):
    """Module parameters, a torch schedule, clipping, gradients set to None: as in any tutorial."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    x = torch.randn(64, 2)
    y = x.prod(1, keepdim=True)
    update = make(name, model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(update, lambda t: 1 - t / 150)
    losses, rates = [], []

    def closure() -> Tensor:
        update.zero_grad(set_to_none=True)
        loss = (model(x) - y).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return loss

    for _ in range(150):
        losses.append(update.step(closure).item())
        schedule.step()
        rates.append(update.param_groups[0]["lr"])
    assert losses[-1] < 0.3 * losses[0]
    assert rates[-1] == 0.0


@pytest.mark.parametrize("name", ONCE)
def test_mixed_precision_scaling_is_undone(name: str):
    """torch's GradScaler: scaled gradients give the same step, an overflow is skipped."""

    def trained(scale: float, bad: int) -> nn.Parameter:
        x = nn.Parameter(torch.tensor([1.0, -2.0]))
        update = make(name, [x], lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)  # type: ignore[attr-defined]
        for t in range(6):
            update.zero_grad()
            scaler.scale((x * torch.tensor([1e-4, 2e-4])).sum()).backward()
            if t == bad:
                x.grad = torch.full_like(x, float("inf"))
            update.observe(Estimate(1.0, 1.0, 1))
            scaler.step(update)
            scaler.update()
        return x

    assert torch.allclose(trained(1.0, -1), trained(2.0**14, -1), rtol=1e-6)
    assert torch.isfinite(trained(2.0**14, 3)).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_gradient_does_not_move(name: str):
    a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    update = make(name, [a, b], lr=0.1)
    for _ in range(3):
        a.grad = torch.ones(3)
        take(update)
    assert not torch.equal(a, torch.ones(3))
    assert torch.equal(b, torch.ones(3))
    b.grad = torch.ones(3)
    take(update)
    assert not torch.equal(b, torch.ones(3))


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_anywhere_is_no_step(name: str):
    a = nn.Parameter(torch.ones(3))
    update = make(name, [a], lr=0.1)
    take(update)
    assert torch.equal(a, torch.ones(3))


@pytest.mark.parametrize("name", NAMES)
def test_a_group_may_come_later(name: str):
    a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    update = make(name, [a], lr=0.1)
    a.grad = torch.ones(3)
    take(update)
    update.add_param_group({"params": [b], "lr": update.param_groups[0]["lr"]})
    b.grad = torch.ones(3)
    take(update)
    assert not torch.equal(b, torch.ones(3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", ["gaps", "transposed", "gradient"])
def test_strides_do_not_matter(name: str, odd: str):
    """Neither a parameter with gaps in memory nor a gradient laid out in another order than its parameter."""
    start = torch.arange(12.0).reshape(4, 3) / 10
    wide = torch.zeros(4, 6)
    wide[:, ::2] = start
    a = nn.Parameter({"gaps": wide[:, ::2], "transposed": start.t().contiguous().t(), "gradient": start.clone()}[odd])
    b = nn.Parameter(start.clone())
    first, second = (make(name, [p], lr=0.1) for p in (a, b))
    for t in range(3):
        g = torch.sin(torch.arange(12.0) + t).reshape(4, 3)
        a.grad = g.t().contiguous().t() if odd == "gradient" else g.clone()
        b.grad = g.clone()
        take(first)
        take(second)
    assert torch.allclose(a, b, rtol=1e-5)
    assert torch.equal(wide[:, 1::2], torch.zeros(4, 3))


@pytest.mark.parametrize("name", TWINS)
def test_state_is_exchanged_with_torchs_class(name: str):
    """A state dict of torch's class, also one from before its first step, goes into ours."""
    for steps in (0, 4):
        a = tensors()
        ours = make(name, groups(a))
        twin = torch_twin(name)
        assert twin is not None
        b = tensors()
        theirs = twin(groups(b), **settings(ours, twin))
        run(theirs, b, 0, steps)
        with torch.no_grad():
            for p, q in zip(a, b, strict=True):
                p.copy_(q)
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        run(ours, a, steps, 9)
        run(theirs, b, steps, 9)
        assert same(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_observe_takes_an_estimate_and_changes_nothing_by_itself(name: str):
    a = tensors()
    update = make(name, a)
    before = [p.detach().clone() for p in a]
    update.observe(Estimate(1.0, 2.0, 3))
    assert same(a, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [-1.0])
def test_a_negative_rate_is_refused(name: str, bad: float):
    with pytest.raises(ValueError, match="learning rate"):
        find("update", name)([nn.Parameter(torch.ones(2))], lr=bad)


@pytest.mark.parametrize("name", NAMES)
def test_sparse_and_complex_parameters_are_refused_in_one_line(name: str):
    kind = find("update", name)
    for bad in (torch.zeros(3, dtype=torch.complex64), torch.zeros(3, 2).to_sparse()):
        with pytest.raises(InputTrouble, match=r"complex|sparse") as caught:
            kind([nn.Parameter(bad)])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_sparse_gradient_is_refused_and_nothing_moves(name: str, apart: bool):
    """Also where it comes last, in a group of its own."""
    x, y = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))
    update = make(name, [{"params": [y]}, {"params": [x]}] if apart else [y, x])
    x.grad, y.grad = torch.ones(3, 2).to_sparse(), torch.ones(2)
    closure = None if name in ONCE else lambda: 1.0
    update.observe(Estimate(1.0, 1.0, 1))
    before, groups = pack(update)
    before = {k: t.clone() for k, t in before.items()}
    groups = copy.deepcopy(groups)
    with pytest.raises(InputTrouble, match="sparse"):
        update.step(closure)
    assert torch.equal(x, torch.ones(3, 2))
    assert torch.equal(y, torch.ones(2))
    after, now = pack(update)
    assert now == groups
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_goes_on_as_the_original(name: str):
    a = tensors()
    first = make(name, groups(a))
    run(first, a, 0, 5)
    second = copy.deepcopy(first)
    b = [p for group in second.param_groups for p in group["params"]]
    assert same(a, b)
    run(first, a, 5, 9)
    run(second, b, 5, 9)
    assert same(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_stay_finite_and_of_their_kind(name: str, dtype: torch.dtype):
    a = tensors(dtype)
    run(make(name, groups(a)), a, 0, 20)
    assert all(p.dtype == dtype and torch.isfinite(p).all() for p in a)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_and_in_plain_pytorch_it_goes_the_same_way(name: str, monkeypatch: pytest.MonkeyPatch):
    """The same bits; where a step's length comes from sums, whose order differs, to rounding."""
    pytest.importorskip("numba", reason="the extra `fast` is not installed: there is one way only")
    ways: list[list[nn.Parameter]] = []
    steps_from_sums = False
    for compiled in (True, False):
        monkeypatch.setattr(sweep, "ENOUGH", 0 if compiled else 1 << 60)
        monkeypatch.setattr(sweep, "_native", lambda compiled=compiled: compiled)
        a = tensors()
        update = make(name, groups(a))
        run(update, a, 0, 5)
        steps_from_sums |= any(one._sums for one in getattr(update, "_sweeps", {}).values() if isinstance(one, sweep.Sweep))
        ways.append(a)
    if steps_from_sums:
        assert all(torch.allclose(p, q, rtol=1e-5, atol=1e-7) for p, q in zip(*ways, strict=True))
    else:
        assert same(*ways)


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_finite_and_afterwards_all_is_bitwise_as_before(name: str):
    a, b = tensors(), tensors()
    update, other = make(name, groups(a)), make(name, groups(b))
    with update.shown():
        assert same(a, tensors())
    run(update, a, 0, 5)
    run(other, b, 0, 5)
    with update.shown():
        assert not same(a, b)
        assert all(torch.isfinite(p).all() for p in a)
    assert same(a, b)
    with pytest.raises(RuntimeError, match="left"), update.shown():
        raise RuntimeError("left")
    run(update, a, 5, 9)
    run(other, b, 5, 9)
    assert same(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_its_help_says_what_it_costs_in_memory_and_every_option(name: str):
    import re

    listing = describe("update", name)
    doc = f"{listing.doc} {inspect.getdoc(find('update', name))}"
    assert re.search(r"state|memory of|inner", doc), "what it keeps for each parameter"
    assert all(option.help for option in listing.options)
