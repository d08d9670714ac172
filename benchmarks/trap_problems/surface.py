"""Shapes of a smooth or broken surface, without noise: saddles, plateaus, valleys, edges, a game."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .trap import Point, Trap, at_point, problem, rotation, spectrum


@problem(steps=300, curvature=(0.1, 0.01, 1e-4), nudge=(1e-2, 1e-3, 1e-6))
def saddle_point(curvature: float, nudge: float) -> Trap:
    """A rotated strict saddle: stiff in nine directions, gently falling in one, started almost on the ridge."""
    q = rotation(10)
    start = torch.randn(10)
    start[0] = nudge

    def f(x: Tensor) -> Tensor:
        z = q @ x
        down = z[0].square()
        return 0.5 * z[1:].square().sum() + 0.25 * curvature * (1.0 - down).square()

    return at_point(q.T @ start, f, 0.05 * curvature)


@problem(steps=300, distance=(3.0, 5.5, 8.0))
def plateau(distance: float) -> Trap:
    """A well in a plain, f = 1 - exp(-||x||^2 / 2): at a distance of 8 the gradient is 1e-13."""
    start = torch.randn(10)
    return at_point(distance * start / start.norm(), lambda x: -torch.expm1(-0.5 * x.square().sum()), 0.05)


@problem(steps=300, n=(2, 6, 10), goal=(1e-2, 1e-2, 1e-2), turned=(False, False, True))
def rosenbrock(n: int, goal: float, turned: bool) -> Trap:
    """A bent valley, from (-1.2, 1): in two dimensions, more, and turned so that no coordinate is along it."""
    q = rotation(n) if turned else torch.eye(n)

    def f(x: Tensor) -> Tensor:
        z = q @ x
        return (100.0 * (z[1:] - z[:-1].square()).square() + (1.0 - z[:-1]).square()).sum()

    return at_point(q.T @ torch.tensor([-1.2, 1.0]).repeat(n // 2), f, goal)


@problem(steps=300, start=((1.0, 1.0), (1.0, 1.0), (4.0, -2.0)), goal=(1e-2, 1e-5, 1e-2))
def beale(start: tuple[float, float], goal: float) -> Trap:
    """Beale's function: cliffs of height 1e5 beside flat valleys."""

    def f(x: Tensor) -> Tensor:
        a, b = x
        return (1.5 - a + a * b).square() + (2.25 - a + a * b * b).square() + (2.625 - a + a * b**3).square()

    return at_point(torch.tensor(start), f, goal)


@problem(steps=300, condition=(1e2, 1e4, 1e6))
def ill_conditioned(condition: float) -> Trap:
    """A rotated quadratic bowl in 20 dimensions; every eigendirection holds an equal share of the loss."""
    q, curvature = rotation(20), spectrum(20, condition)
    start = q.T @ (torch.sign(torch.randn(20)) * (2.0 / 20 / curvature).sqrt())
    return at_point(start, lambda x: 0.5 * (curvature * (q @ x).square()).sum(), 1e-2)


@problem(steps=300, condition=(1e1, 1e2, 1e3))
def ill_conditioned_matrix(condition: float) -> Trap:
    """||A (W - W*) B||^2 with A and B ill-conditioned: what a linear layer between correlated inputs and outputs sees."""
    a, b = (rotation(12) @ torch.diag(spectrum(12, condition**0.5)) @ rotation(12) for _ in "ab")
    target = torch.linalg.solve(a, torch.randn(12, 12) / 12) @ torch.linalg.inv(b)

    def f(w: Tensor) -> Tensor:
        return (a @ (w - target) @ b).square().sum()

    return at_point(torch.zeros(12, 12), f, 1e-2)


@problem(steps=300, slope=(1.0, 10.0, 30.0), turned=(False, True, True))
def discontinuous_gradient(slope: float, turned: bool) -> Trap:
    """A sum of ten edges |z_i| with slopes that differ on both sides: the gradient jumps, and is never small."""
    q = rotation(10) if turned else torch.eye(10)
    slopes = torch.tensor([1.0, slope]).repeat(5)
    centre = torch.randn(10)

    def f(x: Tensor) -> Tensor:
        z = q @ (x - centre)
        return (slopes * torch.where(z > 0, z, -0.3 * z)).sum()

    return at_point(torch.zeros(10), f, 0.02)


@problem(steps=300, balance=(1.0, 0.4, 0.1))
def minimax(balance: float) -> Trap:
    """A game: x descends x'Ay + balance (||x||^2 - ||y||^2) / 2 while y climbs it; without balance it goes in circles."""
    a = rotation(4)
    model = Point(torch.randn(8))

    def loss(t: int) -> Tensor:
        x, y = model.x[:4], model.x[4:]
        mine = x @ a @ y.detach() + 0.5 * balance * x.square().sum()
        theirs = x.detach() @ a @ y - 0.5 * balance * y.square().sum()
        return (mine - theirs).reshape(1)

    first = float(model.x.detach().norm())
    return Trap(model, loss, lambda t: float(model.x.norm()) / first, 0.05)


@problem(steps=300, start=(1e-1, 1e-3, 1e-5), condition=(2.0, 10.0, 50.0))
def factorisation(start: float, condition: float) -> Trap:
    """A matrix of rank four as a product U V', started near zero, which is a saddle; its singular values are unlike."""
    left, right = rotation(16)[:, :4], rotation(16)[:, :4]
    target = left @ torch.diag(spectrum(4, condition)) @ right.T

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.v = (nn.Parameter(start * torch.randn(16, 4) / 4) for _ in "uv")

    model = Factors()
    scale = float(spectrum(4, condition)[-1].square())

    def f() -> Tensor:
        return (model.u @ model.v.T - target).square().sum()

    return Trap(model, lambda t: f().reshape(1), lambda t: float(f()) / scale, 0.1)
