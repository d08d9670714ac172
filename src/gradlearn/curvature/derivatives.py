"""Derivatives that a layer may refuse, and what is done then: all fall-backs in one place.

    H v     double backward | the same with plain kernels | forward over reverse | (grad f(x + h v) - grad f(x - h v)) / 2h
    J v     forward mode | the same with plain kernels | <grad f, v>

Plain kernels are torch's own slow ones: fused attention has no second derivative and a fused LSTM no forward mode, but what they
compute has. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 1994. Which way was taken, and why, is
said once, in `note`. For functions of one flat vector; a model becomes one by `moved.function_of`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble

Function = Callable[[Tensor], Tensor]
_REFUSALS = (RuntimeError, NotImplementedError)  # what torch raises where a formula is missing
_BATCH = 64  # products that are worth the loading of torch's vmap, and at most so many at once


@contextmanager
def plain() -> Iterator[None]:
    """Inside, attention and recurrent layers use kernels that have every derivative."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with (
        quiet(),
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.cudnn.flags(enabled=False),
    ):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, torch does not warn about its own slow ways and deprecated parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def value_and_grad(function: Function, x: Tensor, *, graph: bool = False) -> tuple[Tensor, Tensor]:
    """f(x) () and grad f(x) (n,); with `graph` both can be differentiated again.

    Raises:
        InputTrouble: x is not a vector, the value is not one number, or does not depend on x.
    """
    if x.ndim != 1 or not x.is_floating_point():
        raise InputTrouble(f"x: expected a vector of real numbers, got {x.dtype} {tuple(x.shape)}; flatten it")
    with torch.enable_grad():
        q = x.detach().requires_grad_()
        value = function(q)
        if not isinstance(value, Tensor) or value.numel() != 1:
            came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputTrouble(f"function: expected one number as a tensor, got {came}; return its mean or sum")
        value = value.reshape(())
        if not value.requires_grad:
            raise InputTrouble("function: its value does not depend on x as far as autograd sees; compute it from x with torch")
        (grad,) = torch.autograd.grad(value, q, create_graph=graph, materialize_grads=True)
    return (value, grad) if graph else (value.detach(), grad.detach())


FEW = 64  # products up to which one by one is as quick as all at once


def _seeded(g: Tensor, q: Tensor, v: Tensor) -> Tensor:
    """d <g, v> / d q: (n,)."""
    return torch.autograd.grad(torch.dot(g, v), q, retain_graph=True, materialize_grads=True)[0]


class Hessian:
    """The Hessian of a function at a point, known by its products with vectors.

    Attributes:
        value: f(x), ().
        grad: grad f(x), (n,).
        way: "double backward", "double backward, plain kernels", "forward over reverse" or "differences of gradients".
        note: what was refused and what is done instead; "" where nothing was.
        products: how many have been computed.

    Args:
        function: x (n,) -> one number.
        x: the point, (n,) of real numbers.
        check: whether one product is compared with differences: finds a backward that hides x from autograd.
    """

    def __init__(self, function: Function, x: Tensor, *, check: bool = True) -> None:
        self.function, self.x = function, x.detach().clone()
        self.products, self.note = 0, ""
        self.value, self.grad = value_and_grad(function, self.x)
        probe = torch.cos(torch.arange(len(x), dtype=x.dtype, device=x.device) + 1.0)  # any fixed vector without zeros
        refused = []
        for way, product in self._ways():
            self.way, self._product = way, product
            try:
                seen = product(probe)
            except _REFUSALS as error:
                refused.append(str(error).splitlines()[0][:120])
                continue
            if check and way != "differences of gradients" and self._hidden(probe, seen):
                refused.append("a layer hides its second derivative")
                continue
            break
        self.products = 0
        if refused:
            self.note = f"second derivative by {self.way}: {refused[0]}"

    def _ways(self) -> Iterator[tuple[str, Function]]:
        for way, context in (("double backward", nullcontext), ("double backward, plain kernels", plain)):
            yield way, self._record(context)
        yield "forward over reverse", self._forward_over_reverse
        yield "differences of gradients", self._differences

    def _record(self, context: Any) -> Function:
        """Products by double backward, through a graph of the gradient that is recorded once."""
        graph: list[tuple[Tensor, Tensor]] = []

        def product(v: Tensor, batched: bool = False) -> Tensor:
            with context(), torch.enable_grad(), quiet():
                if not graph:
                    q = self.x.clone().requires_grad_()
                    (g,) = torch.autograd.grad(self.function(q).reshape(()), q, create_graph=True, materialize_grads=True)
                    graph.append((q, g))
                q, g = graph[0]
                if not g.requires_grad:  # a function without curvature
                    return torch.zeros_like(v)
                if batched and len(v) > FEW:
                    (out,) = torch.autograd.grad(g, q, v, retain_graph=True, is_grads_batched=True, materialize_grads=True)
                else:  # a seed would be the same, and imports a second of symbolic algebra first
                    out = torch.stack([_seeded(g, q, row) for row in (v if batched else v[None])])
                    out = out if batched else out[0]
            return out.detach()

        return product

    def _forward_over_reverse(self, v: Tensor) -> Tensor:
        import torch.autograd.forward_ad as forward

        with forward.dual_level(), torch.enable_grad(), quiet(), plain():
            q = forward.make_dual(self.x.clone().requires_grad_(), v)
            (g,) = torch.autograd.grad(self.function(q).reshape(()), q, materialize_grads=True)
            tangent = forward.unpack_dual(g).tangent
        return torch.zeros_like(v) if tangent is None else tangent.detach()

    def _differences(self, v: Tensor, share: float = 1.0) -> Tensor:
        """Central: the error is h^2 / 6 times the third derivative along v, and rounding of the gradient over h."""
        size = torch.linalg.vector_norm(v)
        if size == 0.0:
            return torch.zeros_like(v)
        h = share * torch.finfo(v.dtype).eps ** (1 / 3) * max(1.0, float(self.x.abs().max())) / size
        above, below = (value_and_grad(self.function, self.x + step * v)[1] for step in (h, -h))
        return (above - below) / (2 * h)

    def _hidden(self, v: Tensor, seen: Tensor) -> bool:
        """Whether differences, converged, say otherwise: a custom backward that computes out of autograd's sight."""
        rough, fine = self._differences(v), self._differences(v, 0.25)
        norm = torch.linalg.vector_norm
        loose = 0.2 if v.dtype == torch.float32 else 1e-2
        settled = norm(rough - fine) <= loose * norm(fine)
        floor = 1e3 * torch.finfo(v.dtype).eps ** (2 / 3) * (norm(self.grad) + self.value.abs())
        return bool(settled and norm(seen - fine) > max(10 * loose * norm(fine), floor))

    def __call__(self, v: Tensor) -> Tensor:
        """H v, (n,)."""
        self.products += 1
        return self._product(v.to(self.x))

    def gradient_at(self, x: Tensor) -> Tensor:
        """grad f, (n,), at any point."""
        return value_and_grad(self.function, x)[1]

    def dense(self) -> Tensor:
        """H whole, (n, n), made symmetric: n products, many at once where the layers let it."""
        n = len(self.x)
        eye = torch.eye(n, dtype=self.x.dtype, device=self.x.device)
        rows: list[Tensor] = []
        if n >= _BATCH and self.way.startswith("double backward"):
            try:
                rows = [self._product(part, True) for part in eye.split(_BATCH)]  # type: ignore[call-arg]
                self.products += n
            except _REFUSALS:
                rows = []
        whole = torch.cat(rows) if rows else torch.stack([self(row) for row in eye])
        return (whole + whole.T) / 2


class ByValues:
    """Gradient and Hessian of a function that autograd cannot see through, by differences of its values: eight and five digits.

    The same attributes as `Hessian`. 2 n values for the gradient, 2 n^2 more for the Hessian.
    """

    way = "differences of values"
    note = "the function's value has no gradient that autograd sees: differences of values"

    def __init__(self, function: Function, x: Tensor) -> None:
        self.function, self.x, self.products = function, x.detach().clone(), 0
        self.value = self._at(self.x)
        size, eps = max(1.0, float(self.x.abs().max())), torch.finfo(x.dtype).eps
        self._h = size * eps**0.25
        self._eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
        self.grad = self.gradient_at(self.x)

    def gradient_at(self, x: Tensor) -> Tensor:
        """grad f, (n,), at any point."""
        h = max(1.0, float(x.abs().max())) * torch.finfo(x.dtype).eps ** (1 / 3)
        return torch.stack([(self._at(x + h * e) - self._at(x - h * e)) / (2 * h) for e in self._eye])

    def _at(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.function(x).detach().reshape(()).to(self.x)

    def __call__(self, v: Tensor) -> Tensor:
        """H v, (n,)."""
        return self.dense() @ v

    def dense(self) -> Tensor:
        """H whole, (n, n): d2f / dx_i dx_j from four values, (f(++) - f(+-) - f(-+) + f(--)) / 4h^2."""
        n, h = len(self.x), self._h
        H = self.x.new_zeros(n, n)
        for i in range(n):
            for j in range(i, n):
                a, b = h * self._eye[i], h * self._eye[j]
                corners = [self._at(self.x + s * a + t * b) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
                H[i, j] = H[j, i] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * h * h)
        self.products += n
        return H

    def doubt(self) -> float:
        """What rounding may have added to an entry of H."""
        return 16 * torch.finfo(self.x.dtype).eps * max(float(self.value.abs()), 1e-30) / self._h**2


def derivatives_of(function: Function, x: Tensor) -> Hessian | ByValues:
    """Autograd's derivatives at x where it sees x, else differences of values for at most 100 coordinates.

    Raises:
        InputTrouble: neither.
    """
    with torch.enable_grad():
        seen = function(x.detach().clone().requires_grad_())
    hidden = isinstance(seen, Tensor) and not seen.requires_grad and seen.numel() == 1
    return ByValues(function, x) if hidden and x.ndim == 1 and len(x) <= 100 else Hessian(function, x)


def slope(function: Function, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor, str]:
    """f(x) (), the derivative of f along v (), and a note: forward mode, without a backward pass where the layers allow it."""
    refused = ""
    for context in (nullcontext, plain):
        try:
            value, tangent = _forward(function, x, v, context)
        except _REFUSALS as error:
            refused = refused or str(error).splitlines()[0][:120]
            continue
        return value, tangent, f"forward mode with plain kernels: {refused}" if refused else ""
    value, grad = value_and_grad(function, x)
    return value, grad @ v.to(grad), f"forward mode by a backward pass: {refused}"


def _forward(function: Function, x: Tensor, v: Tensor, context: Any) -> tuple[Tensor, Tensor]:
    import torch.autograd.forward_ad as forward

    with torch.no_grad(), forward.dual_level(), quiet(), context():
        value, tangent = forward.unpack_dual(function(forward.make_dual(x.detach(), v.to(x))).reshape(()))
        return value.detach(), torch.zeros_like(value) if tangent is None else tangent.detach()
