"""The models of the zoo, as a user would write them, and what can be wrong with their weights."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_data import Set, taken

Activation = Callable[[], nn.Module]
ACTS: dict[str, Activation] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "none": nn.Identity}


def outputs(s: Set) -> int:
    """Classes, or columns of the target."""
    return s.y.shape[1] if s.y.is_floating_point() else int(s.y.max()) + 1


def mlp(s: Set, widths: tuple[int, ...] = (64, 64), act: str = "relu", dropout: float = 0.0, norm: bool = False) -> nn.Module:
    """Linear layers of these widths between input and output."""
    sizes, layers = [s.x.shape[1], *widths], []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if norm else []), ACTS[act]()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs(s)))


def conv(s: Set, channels: tuple[int, ...] = (8, 16), act: str = "relu", norm: bool = False, dropout: float = 0.0) -> nn.Module:
    """Convolutions of stride 2, then a linear layer."""
    sizes, layers, side = [s.x.shape[1], *channels], [], s.x.shape[2]
    for a, b in pairwise(sizes):
        layers += [nn.Conv2d(a, b, 3, 2, 1), *([nn.BatchNorm2d(b)] if norm else []), ACTS[act]()]
        side = (side + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(sizes[-1] * side * side, outputs(s)))


def deep_conv(s: Set, layers: int = 8, width: int = 8) -> nn.Module:
    """Many convolutions without a norm, the first two of stride 2."""
    found: list[nn.Module] = []
    for k in range(layers):
        found += [nn.Conv2d(s.x.shape[1] if k == 0 else width, width, 3, 2 if k < 2 else 1, 1), nn.ReLU()]
    return nn.Sequential(*found, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(width * 4, outputs(s)))


class Recurrent(nn.Module):
    """Words to a class: the mean of a GRU's states."""

    def __init__(self, s: Set, words: int = 1500, width: int = 24, hidden: int = 24, dropout: float = 0.2) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(words, width), nn.Dropout(dropout)
        self.cell, self.head = nn.GRU(width, hidden, batch_first=True), nn.Linear(hidden, outputs(s))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T) -> (n, classes)."""
        states, _ = self.cell(self.drop(self.embed(tokens)))
        mask = (tokens != 0).unsqueeze(2)
        return self.head(self.drop((states * mask).sum(1) / mask.sum(1).clamp_min(1)))


class Attention(nn.Module):
    """Words to a class: one block of attention, then the mean."""

    def __init__(self, s: Set, words: int = 1500, width: int = 24, heads: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(words, width), nn.Parameter(0.02 * torch.randn(16, width))
        self.query, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(width, outputs(s))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T) -> (n, classes)."""
        n, length = tokens.shape
        mask = tokens != 0
        mask[:, 0] = True
        x = self.drop(self.embed(tokens) + self.place[:length])
        q, k, v = self.query(self.norms[0](x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        x = x + self.out(seen.transpose(1, 2).reshape(n, length, -1))
        x = x + self.inner(self.norms[1](x))
        return self.head((x * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True))


class Table(nn.Module):
    """Numbers and codes to a class: an embedding of the codes beside the numbers, then an MLP."""

    def __init__(self, s: Set, width: int = 4, widths: tuple[int, ...] = (32, 32), act: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        numbers, codes = s.x
        self.embed = nn.Embedding(128, width)
        start = torch.empty(1, numbers.shape[1] + codes.shape[1] * width)
        self.body = mlp(Set(start, s.y, start, s.vy), widths, act, dropout)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """(n, numbers), (n, codes) -> (n, classes)."""
        return self.body(torch.cat([numbers, self.embed(codes).flatten(1)], 1))


class Flat(nn.Module):
    """A model whose output goes through something that has no slope where it is: "clamp" or "round"."""

    def __init__(self, s: Set, how: str, shift: float = 5.0) -> None:
        super().__init__()
        self.body, self.how = Table(s) if isinstance(s.x, tuple) else mlp(s), how
        nn.init.constant_([p for p in self.body.parameters() if p.ndim == 1][-1], shift)

    def forward(self, *x: Tensor) -> Tensor:
        """As the body, cut off."""
        out = self.body(*x)
        return out.clamp(-1.0, 1.0) if self.how == "clamp" else out.round()


class Function(nn.Module):
    """A function of its own parameters, (n,) times the same value."""

    def __init__(self, s: Set, name: str, start: float = 1.0, size: int = 10, condition: float = 10.0) -> None:
        super().__init__()
        self.name, self.theta = name, nn.Parameter(torch.full((size,), start))
        self.register_buffer("curve", torch.logspace(0, 1, size, base=condition) / condition)

    def forward(self, x: Tensor) -> Tensor:
        """The value, once for each row."""
        return VALUES[self.name](self.theta, self.curve).expand(len(x))


VALUES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "bowl": lambda w, c: 0.5 * (c * (w - 0.5).square()).sum(),
    "well": lambda w, c: 1.0 - torch.exp(-0.5 * w.square().sum()),
    "ridge": lambda w, c: 0.5 * w[0].square() + 0.25 * (w[1:].square() - 1.0).square().sum(),
    "product": lambda w, c: 0.5 * (w[0] * w[1] - 1.0).square(),
    "valley": lambda w, c: (1.0 - w[0]).square() + 5.0 * (w[1] - w[0].square()).square(),  # Rosenbrock's, less narrow
}


class Offset(nn.Module):
    """A linear law whose weights are written as a large number and a bit: the bit is lost in 32 bits."""

    def __init__(self, s: Set, around: float = 1e6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((s.x.shape[1], outputs(s)), around))
        self.around = around

    def forward(self, x: Tensor) -> Tensor:
        """(n, columns) -> (n, outputs)."""
        return x @ (self.weight - self.around)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "conv": conv,
    "deep conv": deep_conv,
    "gru": Recurrent,
    "attention": Attention,
    "table": Table,
    "flat": Flat,
    "function": Function,
    "offset": Offset,
}


# ----------------------------------------------------------------------------------------------------- changes of the weights


def weights(model: nn.Module) -> list[Tensor]:
    """Matrices and kernels, in order; no embeddings."""
    return [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def biases(model: nn.Module) -> list[Tensor]:
    """Their biases."""
    return [m.bias for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m.bias is not None]


def bias(model: nn.Module, s: Set, value: float) -> None:
    """Every bias but the last has this value."""
    for b in biases(model)[:-1]:
        nn.init.constant_(b, value)


def scaled(model: nn.Module, s: Set, factor: float, last: bool = False) -> None:
    """Every matrix (but the last, unless `last`) times this."""
    for w in weights(model)[: None if last else -1]:
        w.data *= factor


def kaiming(model: nn.Module, s: Set, factor: float = 1.0) -> None:
    """He's weights, which keep the size of what passes; times this."""
    for w in weights(model):
        nn.init.kaiming_normal_(w)
        w.data *= factor


def near_zero(model: nn.Module, s: Set, size: float) -> None:
    """Every parameter is drawn with this deviation; 0: all are 0."""
    for p in model.parameters():
        p.data = torch.randn_like(p) * size


def equal(model: nn.Module, s: Set) -> None:
    """All units of a layer start the same."""
    matrices = weights(model)
    for k, w in enumerate(matrices):
        if k + 1 < len(matrices):
            w.data = w.data[:1].expand_as(w).clone()
        if k > 0:
            w.data = w.data[:, :1].expand_as(w).clone()
    for b in biases(model)[:-1]:
        b.data.zero_()


def trained(model: nn.Module, s: Set, steps: int = 600, lr: float = 5e-3, spike: float = 0.0) -> None:
    """Trained before, by Adam; with a `spike`, its last 30 steps are of plain gradient descent at that rate, which breaks it."""
    generator = torch.Generator().manual_seed(1)
    adam = torch.optim.Adam(model.parameters(), lr)
    for t in range(steps):
        for group in adam.param_groups:
            group["lr"] = lr * (1 - t / steps)
        _one(model, s, adam, generator)
    sgd = torch.optim.SGD(model.parameters(), spike)
    for _ in range(30 if spike else 0):
        _one(model, s, sgd, generator)


def _one(model: nn.Module, s: Set, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
    index = torch.randint(len(s.y), (32,), generator=generator)
    x, y = taken(s.x, index), s.y[index]
    out = model(*x) if isinstance(x, tuple) else model(x)
    loss = F.mse_loss(out, y) if y.is_floating_point() else F.cross_entropy(out, y)
    optimizer.zero_grad()
    loss.backward()
    if torch.isfinite(loss):
        optimizer.step()


def half(model: nn.Module, s: Set, kind: str) -> None:
    """All parameters in 16 bits."""
    model.to(getattr(torch, kind))


CHANGES: dict[str, Callable[..., None]] = {f.__name__: f for f in (bias, scaled, kaiming, near_zero, equal, trained, half)}
