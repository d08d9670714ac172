"""theta is one vector, and the module's author need not know."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.theta import Theta

AdamW = find("update", "adamw")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


def loss_of(model: nn.Module) -> Tensor:
    return model(torch.linspace(-1, 1, 12, dtype=next(model.parameters()).dtype).reshape(4, 3)).square().mean()


def bound(theta: Theta) -> bool:
    """Every parameter and its gradient are views into the vector, and the module holds them."""
    spans = [(b.flat, b.grad) for b in theta.blocks]
    held = {id(p) for p in theta.model.parameters()}
    return all(
        m.param.numel() == 0
        or (
            any(
                f.data_ptr() <= m.param.data_ptr() <= f.data_ptr() + f.nbytes
                and m.param.untyped_storage().data_ptr() == f.untyped_storage().data_ptr()
                and m.param.grad is m.grad
                and m.grad.untyped_storage().data_ptr() == g.untyped_storage().data_ptr()
                for f, g in spans
            )
            and id(m.param) in held
        )
        for m in theta.members
    )


def optimiser(theta: Theta, lr: float = 0.1):
    return AdamW(theta.groups(), lr=lr)


def take(theta: Theta, update, loss: Callable[[nn.Module], Tensor] = loss_of) -> float:
    theta.zero()
    value = loss(theta.model)
    value.backward()
    theta.gather()
    with theta.still(update):
        update.step()
    return value.item()


def plain_adamw(model: nn.Module, lr: float = 0.1) -> torch.optim.AdamW:
    """torch's class over the module's own parameters with our defaults and our decay rule."""
    decay = [p for n, p in model.named_parameters() if p.ndim >= 2]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2]
    settings = {"lr": lr, "betas": (0.9, 0.99), "fused": True}
    return torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], **settings)


def near(a: nn.Module, b: nn.Module) -> bool:
    """In float64; not bitwise, because a kernel rounds the last few entries of a tensor in another way than those before."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(p.double(), q.double(), rtol=1e-11, atol=1e-13) for p, q in pairs)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ---- what stays as the author gave it


def test_values_names_and_state_dict_are_as_before():
    model, twin = network(), network()
    theta = Theta(model)
    assert list(model.state_dict()) == list(twin.state_dict())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in twin.named_parameters()]
    assert same(model, twin)
    assert len(theta) == sum(p.numel() for p in twin.parameters())
    assert bound(theta)


def test_training_on_the_vector_is_training_tensor_by_tensor():
    """Without a norm: the bias before one has no gradient but rounding, which Adam makes visible."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 2)).double()
    twin, start = copy.deepcopy(model), copy.deepcopy(model)
    theta = Theta(model)
    ours, theirs = optimiser(theta), plain_adamw(twin)
    for _ in range(20):
        take(theta, ours)
        theirs.zero_grad()
        loss_of(twin).backward()
        theirs.step()
    assert near(model, twin)
    assert not near(model, start)


def test_every_tensor_starts_on_a_boundary_of_64_bytes():
    model = nn.ParameterList([torch.ones(n) for n in (1, 3, 17, 16, 64, 5)] + [torch.ones(3, dtype=torch.float64)])
    theta = Theta(model)
    for m in theta.members:
        assert m.param.data_ptr() % 64 == 0
        assert m.grad.data_ptr() % 64 == 0


def test_no_two_tensors_overlap():
    theta = Theta(network())
    for k, m in enumerate(theta.members):
        with torch.no_grad():
            m.param.fill_(float(k))
            m.grad.fill_(float(-k))
    for k, m in enumerate(theta.members):
        assert (m.param == k).all()
        assert (m.grad == -k).all()


def test_what_decays_lies_together_and_norms_and_biases_do_not_decay():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    theta = Theta(model)
    roles = {m.name: (m.role, m.decay) for m in theta.members}
    assert roles == {
        "0.weight": ("embedding", True),
        "1.weight": ("matrix", True),
        "3.weight": ("head", True),
        "1.bias": ("rest", False),
        "2.weight": ("rest", False),
        "2.bias": ("rest", False),
        "3.bias": ("rest", False),
    }
    decays, rest = theta.groups()
    assert "weight_decay" not in decays
    assert rest["weight_decay"] == 0.0
    assert (decays["role"], rest["role"]) == ("all", "rest")
    assert decays["params"][0].numel() + rest["params"][0].numel() == theta.blocks[0].flat.numel()


def test_channels_last_strides_are_kept_and_trained_as_such():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).double().to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    strides = [p.stride() for p in model.parameters()]
    theta = Theta(model)
    assert [p.stride() for p in model.parameters()] == strides
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [m.grad.stride() for m in theta.members] == [m.param.stride() for m in theta.members]
    x = torch.randn(2, 3, 8, 8).double().to(memory_format=torch.channels_last)
    ours, theirs = optimiser(theta), plain_adamw(twin)
    for _ in range(3):
        take(theta, ours, lambda m: m(x).square().mean())
        theirs.zero_grad()
        twin(x).square().mean().backward()
        theirs.step()
    assert near(model, twin)
    theta.release()
    assert [p.stride() for p in model.parameters()] == strides


def test_transposed_parameters_keep_strides_and_those_with_gaps_are_packed():
    wide = torch.arange(24.0).reshape(4, 6)
    model = nn.ParameterList([nn.Parameter(wide.t()), nn.Parameter(wide[:, ::2]), nn.Parameter(torch.ones(1).expand(3))])
    theta = Theta(model)
    assert model[0].stride() == (1, 6)
    assert model[1].stride() == (3, 1)
    assert torch.equal(model[0], wide.t())
    assert torch.equal(model[1], wide[:, ::2])
    update = optimiser(theta)
    take(theta, update, lambda m: sum(p.square().sum() for p in m))  # type: ignore[arg-type, return-value]
    assert torch.allclose(model[2], torch.full((3,), 0.9), atol=1e-6)
    assert torch.equal(wide, torch.arange(24.0).reshape(4, 6)), "the author's tensor is not ours to write to"


def test_scalars_and_empty_tensors_are_parameters_too():
    model = nn.ParameterList([nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.empty(0, 3)), nn.Parameter(torch.ones(2))])
    theta = Theta(model)
    assert len(theta) == 3
    assert [tuple(p.shape) for p in model] == [(), (0, 3), (2,)]
    take(theta, optimiser(theta), lambda m: m[0] * 2 + m[1].sum() + m[2].sum())
    assert model[0].item() == pytest.approx(1.9)
    assert bound(theta)
    theta.release()
    assert [tuple(p.shape) for p in model] == [(), (0, 3), (2,)]


def test_tied_weights_are_one_tensor_before_during_and_after():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embedding(x))

    torch.manual_seed(0)
    model = Tied().double()
    twin = copy.deepcopy(model)
    theta = Theta(model)
    assert [m.name for m in theta.members] == ["embedding.weight"]
    ours, theirs = optimiser(theta), plain_adamw(twin)
    x = torch.tensor([[1, 2, 5]])
    for _ in range(3):
        take(theta, ours, lambda m: m(x).square().mean())
        theirs.zero_grad()
        twin(x).square().mean().backward()
        theirs.step()
    assert near(model, twin)
    assert list(theta.tensors()) == ["embedding.weight"]
    theta.release()
    assert model.head.weight is model.embedding.weight
    assert list(model.state_dict()) == ["embedding.weight", "head.weight"]


def test_frozen_parameters_and_buffers_stay_where_they_are():
    model = network()
    for p in model[0].parameters():
        p.requires_grad_(False)
    places = [p.data_ptr() for p in model[0].parameters()] + [b.data_ptr() for b in model.buffers()]
    before = model[0].weight.clone()
    theta = Theta(model)
    assert [m.name for m in theta.members] == ["3.weight", "1.weight", "1.bias", "3.bias"]
    update = optimiser(theta)
    for _ in range(3):
        take(theta, update)
    assert torch.equal(model[0].weight, before)
    assert model[0].weight.grad is None
    assert places == [p.data_ptr() for p in model[0].parameters()] + [b.data_ptr() for b in model.buffers()]
    assert "0.weight" in theta.tensors()


def test_each_dtype_has_a_vector_of_its_own():
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 2).double(), nn.Linear(2, 2).bfloat16()])

    def loss(m: nn.Module) -> Tensor:
        x = m[1](m[0](torch.ones(4, 3)).double())  # type: ignore[index]
        return m[2](x.bfloat16()).float().square().mean()  # type: ignore[index]

    theta = Theta(model)
    assert [b.flat.dtype for b in theta.blocks] == [torch.float32, torch.float64, torch.bfloat16]
    assert [len(theta.groups())] == [6]
    update = optimiser(theta, 0.01)
    losses = [take(theta, update, loss) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert bound(theta)


def test_the_norm_is_torchs_total_norm():
    for model in (network(), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()):
        theta = Theta(model)
        theta.zero()
        loss_of(model).backward()
        theta.gather()
        expected = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item()
        assert theta.norm() == pytest.approx(expected, rel=1e-6)
        theta.scale_grad(0.5)
        assert theta.norm() == pytest.approx(expected / 2, rel=1e-6)
    mixed = nn.ParameterList([torch.ones(3), torch.ones(5, dtype=torch.float64)])
    theta = Theta(mixed)
    theta.zero()
    (3 * mixed[0].sum() + 2 * mixed[1].sum()).backward()
    theta.gather()
    assert theta.norm() == pytest.approx((9 * 3 + 4 * 5) ** 0.5)


def test_the_first_tensor_that_is_not_finite_is_named():
    theta = Theta(network())
    assert theta.first_nonfinite() is None
    theta.members[1].grad[..., 0] = float("nan")
    assert theta.first_nonfinite() == (theta.members[1].name, "gradient")
    theta.zero()
    theta.members[0].view.view(-1)[0] = float("inf")
    assert theta.first_nonfinite() == (theta.members[0].name, "value")


# ---- what a module, or its owner, may do behind our back


def test_gradients_set_to_none_between_steps_change_nothing():
    runs = []
    for forget in (None, lambda theta, update: theta.model.zero_grad(set_to_none=True), lambda theta, update: update.zero_grad()):
        theta = Theta(network())
        update = optimiser(theta)
        for _ in range(4):
            if forget:
                forget(theta, update)
            take(theta, update)
        assert bound(theta)
        runs.append(theta.snapshot())
    assert not torch.equal(runs[0][0], Theta(network()).snapshot()[0])
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_gradients_put_elsewhere_are_gathered():
    theta = Theta(network())
    theta.zero()
    for m in theta.members:
        m.param.grad = torch.full_like(m.param, 2.0)
    theta.gather()
    assert theta.norm() == pytest.approx(2.0 * len(theta) ** 0.5)
    assert bound(theta)
    assert theta.untouched == []


def test_conversion_while_training_is_refused_by_name():
    theta = Theta(network())
    update = optimiser(theta)
    take(theta, update)
    theta.model.double()
    line = r"model: parameter '\S+' became torch.float64 .* \(was torch.float32 .*\); convert the model before fit"
    with pytest.raises(InputTrouble, match=line):
        take(theta, update)


def test_a_move_to_another_memory_format_is_mended_with_its_values():
    model = nn.Sequential(nn.Conv2d(2, 3, 3))
    theta = Theta(model)
    update = optimiser(theta)
    take(theta, update, lambda m: m(torch.ones(1, 2, 4, 4)).sum())
    model.to(memory_format=torch.channels_last)  # moves gradients as well
    before = model[0].weight.detach().clone()
    theta.zero()
    assert torch.equal(model[0].weight, before)
    assert bound(theta)
    take(theta, update, lambda m: m(torch.ones(1, 2, 4, 4)).sum())
    assert theta.norm() > 1.0
    assert theta.untouched == []
    assert not torch.equal(model[0].weight, before)


def test_new_data_under_a_parameter_is_taken_in():
    theta = Theta(network())
    theta.model[0].weight.data = torch.full((5, 3), 0.25)
    theta.bind()
    assert bound(theta)
    assert (theta.model[0].weight == 0.25).all()


@pytest.mark.parametrize("assign", [False, True])
def test_load_state_dict_in_the_middle_of_training(assign: bool):
    theta, other = Theta(network()), network()
    update = optimiser(theta)
    take(theta, update)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    loaded = copy.deepcopy(other.state_dict())
    theta.model.load_state_dict(loaded, assign=assign)
    theta.zero()
    assert bound(theta)
    assert same(theta.model, other)
    before = {k: v.clone() for k, v in loaded.items()}
    losses = [take(theta, update) for _ in range(3)]
    assert losses[2] < losses[0]
    assert bound(theta)
    assert all(torch.equal(loaded[k], v) for k, v in before.items() if "running" not in k and "num" not in k)


def test_a_state_dict_of_another_dtype_cannot_be_assigned():
    theta = Theta(network())
    theta.model.load_state_dict(copy.deepcopy(network().double().state_dict()), assign=True)
    with pytest.raises(InputTrouble, match=r"model: parameter '\S+' became torch.float64 .*; convert the model before fit"):
        theta.bind()


def test_tied_weights_that_are_assigned_are_tied_again():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    theta = Theta(model)
    model.load_state_dict({k: torch.full((3, 3), 2.0) for k in ("0.weight", "1.weight")}, assign=True)
    theta.bind()
    assert model[0].weight is model[1].weight
    assert (model[0].weight == 2).all()
    assert bound(theta)


def test_weight_norm_added_while_training_is_refused():
    theta = Theta(network())
    nn.utils.parametrizations.weight_norm(theta.model[0])
    with pytest.raises(InputTrouble, match=r"model: parameter '0.weight' was removed or replaced while training; change the model"):
        theta.zero()


def test_weight_norm_from_the_start_is_trained():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    theta = Theta(model)
    update = optimiser(theta)
    losses = [take(theta, update) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    assert theta.untouched == []


@pytest.mark.parametrize("where", ["parameter", "module"])
def test_a_new_parameter_is_found_and_refused(where: str):
    theta = Theta(network())
    theta.zero()
    if where == "parameter":
        theta.model[0].extra = nn.Parameter(torch.ones(2))
    else:
        theta.model.append(nn.Linear(2, 2))
    name = {"parameter": "0.extra", "module": "4.weight"}[where]
    with pytest.raises(InputTrouble, match=f"model: parameter '{name}' appeared while training; change the model before fit"):
        theta.zero()


def test_a_parameter_that_thaws_is_found_at_the_next_snapshot():
    model = network()
    model[0].weight.requires_grad_(False)
    theta = Theta(model)
    theta.snapshot()
    model[0].weight.requires_grad_(True)
    with pytest.raises(InputTrouble, match=r"model: parameter '0.weight' appeared while training"):
        theta.snapshot()


def test_new_buffers_frozen_parameters_and_empty_modules_are_welcome():
    theta = Theta(network())
    trained = len(theta)
    theta.model.append(nn.Identity())
    theta.model[0].register_parameter("fixed", nn.Parameter(torch.ones(1), requires_grad=False))
    theta.zero()
    theta.zero()
    theta.snapshot()
    assert len(theta) == trained
    assert "0.fixed" in theta.tensors()


def test_a_removed_parameter_is_refused():
    theta = Theta(network())
    theta.model[0].bias = None
    with pytest.raises(InputTrouble, match=r"model: parameter '0.bias' was removed or replaced while training"):
        theta.zero()


def test_a_replaced_parameter_of_the_same_shape_is_taken_in():
    theta = Theta(network())
    theta.model[0].bias = nn.Parameter(torch.full((5,), 3.0))
    theta.zero()
    assert bound(theta)
    assert (theta.model[0].bias == 3).all()


def test_a_deep_copy_lives_its_own_life():
    theta = Theta(network())
    update = optimiser(theta)
    take(theta, update)
    twin = copy.deepcopy(theta.model)
    kept = copy.deepcopy(twin.state_dict())
    take(theta, update)
    assert bound(theta)
    assert all(torch.equal(v, kept[k]) for k, v in twin.state_dict().items())
    with torch.no_grad():
        twin[0].weight.zero_()
    assert theta.model[0].weight.abs().sum() > 0


def test_backward_with_create_graph_is_gathered():
    model, twin = network(), network()
    theta, plain = Theta(model), Theta(twin)
    theta.zero()
    with pytest.warns(UserWarning, match="create_graph"):
        loss_of(model).backward(create_graph=True)
    theta.gather()
    plain.zero()
    loss_of(twin).backward()
    plain.gather()
    assert bound(theta)
    assert torch.equal(theta.blocks[0].grad, plain.blocks[0].grad)
    assert not theta.blocks[0].grad.requires_grad
    assert theta.untouched == []
    take(theta, optimiser(theta))


# ---- parameters without a gradient


class Branches(nn.Module):
    """Two ways to go; each forward pass takes the ones it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2), nn.Conv1d(4, 2, 1).to(memory_format=torch.preserve_format)
        self.ways = "ab"

    def forward(self, x: Tensor) -> Tensor:
        h = self.trunk(x).tanh()
        return sum((self.a(h) if way == "a" else self.b(h[:, :, None])[:, :, 0]) for way in self.ways)  # type: ignore[return-value]


def test_a_branch_that_is_not_taken_keeps_value_and_state_as_torch_leaves_them():
    torch.manual_seed(0)
    model = Branches().double()
    twin = copy.deepcopy(model)
    theta = Theta(model)
    ours, theirs = optimiser(theta, 0.05), plain_adamw(twin, 0.05)
    ways = ["ab", "a", "a", "b", "ab", "b", "a", "ab"]
    for t, way in enumerate(ways):
        model.ways = twin.ways = way
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        take(theta, ours)
        theirs.zero_grad(set_to_none=True)
        loss_of(twin).backward()
        for p in twin.parameters():  # the vector has one count of steps: where torch's lags behind, the bias correction would too
            if p in theirs.state:
                theirs.state[p]["step"].fill_(t)
            elif p.grad is not None and t:
                theirs.state[p] = {
                    "step": torch.tensor(float(t)),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        theirs.step()
        left = {"ab": "", "a": "b", "b": "a"}[way]
        assert {m.name for m in theta.untouched} == {f"{left}.weight", f"{left}.bias"} - {".weight", ".bias"}
        for name, p in model.named_parameters():
            assert torch.allclose(p, dict(twin.named_parameters())[name], rtol=1e-11), (t, name)
            assert torch.equal(p, before[name]) == (name[0] == left), (t, name)
    moments = {m.name: list(find_state(ours, theta, m.name)) for m in theta.members}
    for name, p in twin.named_parameters():
        assert torch.allclose(moments[name][0], theirs.state[p]["exp_avg"].flatten(), rtol=1e-11)
        assert torch.allclose(moments[name][1], theirs.state[p]["exp_avg_sq"].flatten(), rtol=1e-11)


def find_state(update, theta: Theta, name: str) -> list[Tensor]:
    """exp_avg and exp_avg_sq of one parameter, from the flat state."""
    m = next(m for m in theta.members if m.name == name)
    for group in update.param_groups:
        (p,) = group["params"]
        offset = m.start - (p.data_ptr() - theta.blocks[0].flat.data_ptr()) // p.element_size()
        if 0 <= offset < p.numel():
            return [update.state[p][k][offset : offset + m.param.numel()] for k in ("exp_avg", "exp_avg_sq")]
    raise AssertionError(name)


def test_no_decay_without_a_gradient():
    """The trap: in a flat vector weight decay would pull on everything."""
    model = nn.ParameterDict({"used": nn.Parameter(torch.ones(2, 2)), "idle": nn.Parameter(torch.ones(2, 2))})
    theta = Theta(model)
    update = AdamW(theta.groups(), lr=0.1, weight_decay=0.5)
    for _ in range(5):
        take(theta, update, lambda m: m["used"].sum())
    assert torch.equal(model["idle"], torch.ones(2, 2))
    assert (model["used"] < 0.7).all()


def test_a_zero_gradient_is_a_gradient():
    """Only what backward never reached is left alone; a gradient that happens to be 0 decays as everywhere."""
    model = nn.ParameterDict({"used": nn.Parameter(torch.ones(2, 2))})
    theta = Theta(model)
    take(theta, AdamW(theta.groups(), lr=0.1, weight_decay=0.5), lambda m: (m["used"] * 0).sum())
    assert theta.untouched == []
    assert torch.allclose(model["used"], torch.full((2, 2), 0.95))


# ---- snapshots, state, release


def test_a_snapshot_brings_theta_and_buffers_back_bitwise():
    theta = Theta(network())
    update = optimiser(theta)
    take(theta, update)
    snapshot, before = theta.snapshot(), copy.deepcopy(theta.model.state_dict())
    for _ in range(3):
        take(theta, update)
    assert not all(torch.equal(v, before[k]) for k, v in theta.model.state_dict().items())
    theta.restore(snapshot)
    assert all(torch.equal(v, before[k]) for k, v in theta.model.state_dict().items())
    assert bound(theta)


def test_tensors_and_load_go_round():
    theta, other = Theta(network()), Theta(network())
    take(theta, optimiser(theta))
    other.load({k: v.clone() for k, v in theta.tensors().items()})
    assert same(theta.model, other.model)
    other.zero()
    assert bound(other)
    assert list(theta.tensors()) == list(theta.model.state_dict())


@pytest.mark.parametrize(("change", "line"), [
    (lambda s: s.pop("0.bias"), "weights: missing tensor '0.bias'; wrong or damaged model"),
    (lambda s: s.update(more=torch.ones(1)), "weights: unknown tensor 'more'; wrong or damaged model"),
    (lambda s: s.update({"0.bias": torch.ones(4)}), r"weights: tensor '0.bias' is \[4\], model expects \[5\]; wrong model"),
])  # fmt: skip
def test_wrong_weights_are_refused_and_change_nothing(change: Callable[[dict[str, Tensor]], object], line: str):
    theta = Theta(network())
    tensors = {k: torch.zeros_like(v) for k, v in theta.tensors().items()}
    change(tensors)
    with pytest.raises(InputTrouble, match=line):
        theta.load(tensors)
    assert same(theta.model, network())


def test_release_gives_every_parameter_a_storage_of_its_own():
    model = network()
    theta = Theta(model)
    take(theta, optimiser(theta))
    values = copy.deepcopy(model.state_dict())
    theta.release()
    for p in model.parameters():
        assert p.untyped_storage().nbytes() == p.nbytes
        assert p.grad is None
    for p, q in itertools.combinations(model.parameters(), 2):
        assert p.untyped_storage().data_ptr() != q.untyped_storage().data_ptr()
    assert all(torch.equal(v, values[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        theta.blocks[0].flat.zero_()
    assert all(torch.equal(v, values[k]) for k, v in model.state_dict().items())


def test_after_release_a_new_vector_can_be_made():
    model = network()
    Theta(model).release()
    assert bound(Theta(model))
    assert same(model, network())


# ---- what no vector can hold


@pytest.mark.parametrize(("model", "line"), [
    (nn.Identity(), "model: no parameter requires a gradient; there is nothing to train"),
    (nn.Linear(2, 2).requires_grad_(False), "model: no parameter requires a gradient; there is nothing to train"),
    (nn.ParameterList([torch.ones(2, dtype=torch.complex64)]), "model: parameter '0' is torch.complex64 .*; only dense real"),
    (nn.ParameterList([torch.eye(2).to_sparse()]), "model: parameter '0' is .*sparse.*; only dense real parameters are trained"),
])  # fmt: skip
def test_what_no_vector_can_hold_is_refused(model: nn.Module, line: str):
    with pytest.raises(InputTrouble, match=line):
        Theta(model)


def test_a_lazy_module_is_to_be_called_once_first():
    model = nn.LazyLinear(3)
    with pytest.raises(InputTrouble, match="model: parameter 'weight' is not initialised yet; call the model once before fit"):
        Theta(model)
    model(torch.ones(2, 4))
    assert bound(Theta(model))
