"""Scales: inputs and targets of about unit size while a module of the user's own is trained, folded into its layers at the end.

    z = (x - mean) / spread            trained on z;       then  W <- W / spread,  b <- b - W mean / spread    of the first layer
    v = (y - mean) / spread            trained on v;       then  W <- W spread,    b <- b spread + mean        of the last layer

A fixed learning rate suits inputs of unit size; inputs a hundred times larger, or far from zero, break every fixed rule (LeCun et
al., "Efficient BackProp", 1998). The module that comes back takes the user's own x and gives the user's own y: nothing has to be
stored beside it. Only where that is exact: x is a tensor that goes into one Linear or convolution and nowhere else, the model's
output is that of one Linear and the loss is the squared error by its name. That is tried on numbers, not read from the code; else
inputs are left as they are, and the plan says so. A convolution that pads is not given a mean: its border would not be the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradlearn.adapt import Examples, moved
from gradlearn.loop import evaluating

if TYPE_CHECKING:
    from gradlearn.plan import Plan
    from gradlearn.supervised import Supervised

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
ROWS = 1 << 19  # numbers of x that the scale is measured on
EXACT = 1e-3  # how far a folded module may be from the unfolded one, relative to its outputs' spread
NEAR = 3.0  # inputs whose spread is within this factor of 1, about zero, are left as they are
ALIKE = 0.5  # share of the columns whose ranges are alike from which all get one scale, as pixels do
SPIKE = 10.0  # a column's range is at most so many spreads


@dataclass(slots=True)
class Side:
    """One end of a module: its layer, and mean and spread of what goes in or out, in the shape that broadcasts over examples.

    In the type of the values, so that what is taken off there and what is folded are the same to the last bit.
    """

    layer: nn.Module
    mean: Tensor
    spread: Tensor
    what: str  # in words

    def on(self, values: Tensor) -> Tensor:
        """Values as they are trained on."""
        wide = values if values.dtype in (torch.float32, torch.float64) else values.float()
        spread = self.spread.to(wide.dtype)
        if not self.mean.any():
            return (wide / spread).to(values.dtype)
        return wide.sub(self.mean.to(wide.dtype)).div_(spread).to(values.dtype)


def side_of(layer: nn.Module, mean: Tensor, spread: Tensor, what: str, like: Tensor) -> Side:
    """A side with mean and spread rounded to what the values can hold."""
    kind = torch.float64 if like.dtype == torch.float64 else torch.float32
    return Side(layer, mean.to(kind).double(), spread.to(kind).double(), what)


def standardise(task: Supervised, plan: Plan) -> None:
    """Give the task inputs and targets of unit size, where that can be folded exactly; the plan says what was done and why."""
    wish = plan.get("inputs", "standardised")
    data = task.sets["train"]
    task.entrance = task.exit = None
    if wish == "as given":
        return
    plain = all(isinstance(own, Examples) and isinstance(own.x, Tensor) for own in task.sets.values() if own is not None)
    if not plain or not isinstance(data, Examples) or not data.x.is_floating_point() or data.x.ndim < 2:
        plan.choose("inputs", "as given", "they are no single tensor of numbers in memory")
        return
    entrance, why = entrance_of(task, data.x)
    exit_, _ = exit_of(task, data.y) if task.plain and isinstance(data.y, Tensor) else (None, "")
    if entrance is None and exit_ is None:
        plan.choose("inputs", "as given", why)
        return
    _start(task, entrance, exit_, data)
    said = [side.what for side in (entrance, exit_) if side is not None]
    plan.choose("inputs", "standardised", "; ".join(said) + "; folded into the module at the end", "data")
    task.entrance, task.exit = entrance, exit_
    task.sets = {name: None if own is None else _scaled(own, entrance, exit_) for name, own in task.sets.items()}


def fold(task: Supervised) -> None:
    """The module takes x and gives y as they were given; what was trained on scaled ones is written into its layers. Once."""
    with torch.no_grad():
        if task.entrance is not None:
            _fold_in(task.entrance)
        if task.exit is not None:
            _fold_out(task.exit)
    task.entrance = task.exit = None


def entrance_of(task: Supervised, x: Tensor) -> tuple[Side | None, str]:
    """The layer that x goes into, with its scale; None, and why, where there is nothing to gain or no exact way."""
    rows = x[torch.linspace(0, len(x) - 1, min(len(x), max(ROWS // max(x[0].numel(), 1), 2))).long()]
    if not torch.isfinite(rows).all():
        return None, "some are not finite"
    layer = _first(task.own, _on(task.own, x[:2]))
    if layer is None:
        return None, "they do not go into one Linear or convolution alone, so no scale can be folded"
    padded = isinstance(layer, LAYERS[1:]) and (not isinstance(layer.padding, tuple) or any(layer.padding))
    side = _scale(rows, layer, centred=not padded and layer.bias is not None)
    middle, spread = rows.double().mean().item(), rows.double().std().item()
    size, offset = math.hypot(middle, spread), abs(middle)
    uneven = side.spread.max().item() > NEAR * side.spread.min().item()
    if not uneven and 1.0 / NEAR < size < NEAR and offset < spread:
        return None, f"they are of unit size already (root mean square {size:.3g})"
    if not _is_exact(task.own, _on(task.own, x[:64]), side, None):
        return None, "they are also used elsewhere than in the first layer, so no scale can be folded"
    return side, ""


def exit_of(task: Supervised, y: Tensor) -> tuple[Side | None, str]:
    """The layer that gives the output, with the scale of the targets."""
    if not y.is_floating_point() or not torch.isfinite(y).all() or len(y) < 2:
        return None, "the targets are no numbers"
    data = task.sets["train"]
    assert isinstance(data, Examples)
    assert isinstance(data.x, Tensor)
    mean, spread = y.double().mean().item(), y.double().std().item()
    if spread == 0.0 or (1.0 / NEAR < spread < NEAR and abs(mean) < spread):
        return None, "the targets are of unit size already"
    layer = _last(task.own, _on(task.own, data.x[:2]))
    if layer is None or layer.bias is None:
        return None, "the output is not that of one Linear"
    what = f"targets about {mean:.3g} with spread {spread:.3g}"
    side = side_of(layer, torch.tensor(mean).double(), torch.tensor(spread).double(), what, y)
    exact = _is_exact(task.own, _on(task.own, data.x[:64]), None, side)
    return (side, "") if exact else (None, "the output is not that of one Linear")


def _scale(rows: Tensor, layer: Any, centred: bool) -> Side:
    """Mean and spread for each column of a table or channel of a picture; one for all where they are alike or flattened."""
    linear = isinstance(layer, nn.Linear)
    flat = linear and rows.shape[-1] != layer.in_features
    grouped = not linear and layer.groups > 1
    shape = (1,) * rows.ndim
    values = rows.double()
    if not flat and not grouped:
        axis = rows.ndim - 1 if linear else 1
        own = values.movedim(axis, -1).reshape(-1, rows.shape[axis])
        low, high = own.amin(0), own.amax(0)
        wide = high - low
        if (wide >= 0.5 * wide.max()).double().mean().item() < ALIKE or wide.max() == 0 or _apart(own):
            spread = torch.maximum(own.std(0), wide / SPIKE)
            spread[spread <= 1e-12 * (high.abs() + low.abs())] = 1.0
            mean = own.mean(0) if centred else torch.zeros_like(spread)
            shape = tuple(-1 if k == axis else 1 for k in range(rows.ndim))
            what = f"inputs scaled each column by its own spread, {spread.min():.3g} to {spread.max():.3g}"
            return side_of(layer, mean.reshape(shape)[0], spread.reshape(shape)[0], what, rows)
    mean = values.mean().item() if centred else 0.0
    spread = math.sqrt((values - mean).square().mean().item()) or 1.0
    what = f"inputs about {mean:.3g} with spread {spread:.3g}" if centred else f"inputs of size {spread:.3g}"
    return side_of(layer, torch.full(shape, mean).double()[0], torch.full(shape, spread).double()[0], what, rows)


def _apart(own: Tensor) -> bool:
    """Whether columns lie in different places, measured in their spreads: then one mean does not centre them."""
    spread = own.std().item()
    return bool((own.mean(0) - own.mean()).abs().max() > 3.0 * own.std(0).median()) and spread > 0


def _scaled(data: Any, entrance: Side | None, exit_: Side | None) -> Examples:
    x = data.x if entrance is None else entrance.on(data.x)
    y = data.y if exit_ is None or data.y is None else exit_.on(data.y)
    return Examples(x, y, data.numbers)


def _start(task: Supervised, entrance: Side | None, exit_: Side | None, data: Examples) -> None:
    """Weights that know the data already go on from what they know; new ones are taken as meant for inputs of unit size."""
    some = torch.arange(min(len(data), 128))
    batch = data(some, -1)
    x = batch.x if entrance is None else entrance.on(batch.x)
    y = batch.y if exit_ is None else exit_.on(batch.y)
    raw, scaled = _loss(task, batch, exit_), _loss(task, batch._replace(x=x, y=y), None)
    if raw < 0.7 * scaled:
        with torch.no_grad():
            if entrance is not None:
                _unfold_in(entrance)
            if exit_ is not None:
                _unfold_out(exit_)


def _loss(task: Supervised, batch: Any, exit_: Side | None) -> float:
    from gradlearn.supervised import outputs

    with evaluating(task.own):
        batch = batch._replace(x=_on(task.own, batch.x), y=_on(task.own, batch.y))
        found = task.loss(outputs(task.own, batch.x), batch.y)
        loss = found.total.double().sum().item() / max(found.count.double().sum().item(), 1e-30)
    loss = loss / exit_.spread.item() ** 2 if exit_ is not None else loss
    return loss if math.isfinite(loss) else math.inf


def _on(model: nn.Module, value: Any) -> Any:
    first = next(model.parameters(), None)
    return value if first is None or first.device.type == "cpu" else moved(value, first.device)


def _plain_layer(module: nn.Module, kinds: tuple[type, ...]) -> bool:
    """A layer whose weight can be written: its own, trained, without hooks or another owner."""
    weight = module._parameters.get("weight")
    hooked = module._forward_hooks or module._forward_pre_hooks
    free = weight is not None and weight.requires_grad and (getattr(module, "bias", None) is None or module.bias.requires_grad)
    return bool(type(module) in kinds and free and not hooked)


def _first(model: nn.Module, x: Tensor) -> Any:
    """The one layer that is given x itself, or a view of all of it."""
    found: list[nn.Module] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor) and given[0].data_ptr() == x.data_ptr() and given[0].numel() == x.numel():
            found.append(module)

    with _hooked(model, lambda m: m.register_forward_pre_hook(note)):
        _quietly(model, x)
    layers = [module for module in found if _plain_layer(module, LAYERS)]  # not a Flatten before it
    return layers[0] if len(layers) == 1 else None


def _last(model: nn.Module, x: Tensor) -> Any:
    """The Linear that gives the output itself, or a view of all of it."""
    made: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            made.append((module, output))

    with _hooked(model, lambda m: m.register_forward_hook(note)):
        out = _quietly(model, x)
    if not isinstance(out, Tensor):
        return None
    own = [m for m, t in made if t.data_ptr() == out.data_ptr() and t.numel() == out.numel()]
    return own[-1] if own and _plain_layer(own[-1], (nn.Linear,)) else None


@contextmanager
def _hooked(model: nn.Module, hook: Any) -> Iterator[None]:
    handles = [hook(m) for m in model.modules() if not list(m.children())]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _quietly(model: nn.Module, x: Tensor) -> Any:
    from gradlearn.supervised import outputs

    with evaluating(model):
        return outputs(model, x)


def _is_exact(model: nn.Module, x: Tensor, entrance: Side | None, exit_: Side | None) -> bool:
    """Whether the folded module does with x what the module does with scaled x; weights are bitwise as found afterwards."""
    sides = [side for side in (entrance, exit_) if side is not None]
    kept = [(p, p.detach().clone()) for side in sides for p in side.layer.parameters()]
    wanted = _quietly(model, x if entrance is None else _on(model, entrance.on(x.cpu())))
    if not isinstance(wanted, Tensor):
        return False
    if exit_ is not None:
        wanted = wanted.double() * exit_.spread.item() + exit_.mean.item()
    try:
        with torch.no_grad():
            for side, write in ((entrance, _fold_in), (exit_, _fold_out)):
                if side is not None:
                    write(side)
        found = _quietly(model, x)
    finally:
        with torch.no_grad():
            for p, value in kept:
                p.copy_(value)
    if not isinstance(found, Tensor) or found.shape != wanted.shape:
        return False
    away = (found.double() - wanted.double()).abs().max().item()
    return away <= EXACT * (wanted.double().abs().max().item() + 1e-12)


def _columns(side: Side) -> tuple[Tensor, Tensor]:
    """(mean, spread) in the shape that broadcasts over the layer's weight: (1, in) or (1, in, 1, ...)."""
    weight: Any = side.layer.weight
    shape = (1, -1, *(1,) * (weight.ndim - 2))
    many = weight.shape[1]
    return tuple(t.flatten().expand(many).reshape(shape).to(weight.device) for t in (side.mean, side.spread))  # pyright: ignore


def _fold_in(side: Side) -> None:
    layer: Any = side.layer
    mean, spread = _columns(side)
    weight = layer.weight.detach().double() / spread
    if layer.bias is not None:
        layer.bias.copy_(layer.bias.double() - (weight * mean).flatten(1).sum(1))
    layer.weight.copy_(weight)


def _unfold_in(side: Side) -> None:
    layer: Any = side.layer
    mean, spread = _columns(side)
    weight = layer.weight.detach().double()
    if layer.bias is not None:
        layer.bias.copy_(layer.bias.double() + (weight * mean).flatten(1).sum(1))
    layer.weight.copy_(weight * spread)


def _fold_out(side: Side) -> None:
    layer: Any = side.layer
    mean, spread = side.mean.item(), side.spread.item()
    layer.weight.copy_(layer.weight.double() * spread)
    layer.bias.copy_(layer.bias.double() * spread + mean)


def _unfold_out(side: Side) -> None:
    layer: Any = side.layer
    mean, spread = side.mean.item(), side.spread.item()
    layer.weight.copy_(layer.weight.double() / spread)
    layer.bias.copy_((layer.bias.double() - mean) / spread)
