"""Who searches next: the budget goes to the strategies that have lowered the best value lately, or are about to.

    next = argmin_i  spent_i / weight_i,      weight_i = 1 + 4 (share of its last turns that improved) + 2 (forecast)

The forecast is 1 where a strategy, falling as it did in its last turn, passes the best value at once, and 0 where it will not
within the budget that is left. A strategy with an `opening` has so many rounds before the others. Each keeps a floor, since the
one that wins late looks idle until then. Spending is counted in evaluations where the budget is in evaluations, so that one seed
gives one result; else in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from gradlearn.minimum import function as counting
from gradlearn.minimum import quasinewton
from gradlearn.minimum.function import Function
from gradlearn.minimum.terrain import Strategy, Terrain

OPENING = 0.2  # share of the budget that the first rounds of a strategy may take before the others begin
POLISH = 0.35  # share of the budget that careful descents from the best point may take


@dataclass(slots=True)
class Account:
    """One strategy: where it stands, what it has spent and brought."""

    name: str
    strategy: Strategy
    work: Iterator[float] | None = None
    round: int = 0
    spent: float = 0.0
    credit: float = 0.5
    forecast: float = 0.5
    level: float = math.inf
    barren: int = 0  # rounds running in which it evaluated nothing

    @property
    def weight(self) -> float:
        """How much of the budget it deserves, relative to others."""
        return 1.0 + 4.0 * self.credit + 2.0 * self.forecast


class Search:
    """A search by several strategies over one function.

    Args:
        terrain: what they see.
        strategies: {name: strategy}, in the order in which they go first.
        by_evaluations: count spending in evaluations, not in seconds.
        known: value and gradient at the start, where they have been evaluated.
    """

    def __init__(
        self,
        terrain: Terrain,
        strategies: dict[str, Strategy],
        by_evaluations: bool,
        known: tuple[float, torch.Tensor] | None = None,
    ) -> None:
        self.terrain, self.function = terrain, terrain.function
        self.accounts = [Account(name, strategy) for name, strategy in strategies.items()]
        self.meter: Callable[[], float] = (lambda: float(self.function.nfev)) if by_evaluations else (lambda: counting.clock())
        self.known = known
        self.whole = float(self.function.max_evals) if by_evaluations else self.function.deadline - self.function.begun
        self.began, self.polished, self.polish_spent = self.meter(), math.inf, 0.0

    def run(self) -> None:
        """Until the function raises Spent, or no strategy is left."""
        self.polish(1000, self.known)
        while any(self._opens(a) for a in self.accounts):
            self.turn(next(a for a in self.accounts if self._opens(a)))
        while self.accounts:
            account = min(self.accounts, key=lambda a: a.spent / a.weight)
            self.turn(account)
            if account.barren >= 2:
                self.accounts.remove(account)
            if self.function.least < self.polished:
                self.polish(60)
            if self.terrain.widen():  # unit coordinates are others now
                for each in self.accounts:
                    each.work = None

    def _opens(self, account: Account) -> bool:
        """Whether a strategy has rounds left that go first, and has not used much for them; more may be used while it improves."""
        most = OPENING * self.whole * (1.5 if account.credit > 0.5 else 1.0)
        return account.round < getattr(account.strategy, "opening", 0) and account.spent < most

    def turn(self, account: Account) -> None:
        """One turn of one strategy: pieces of work until its slice is used, and what they brought."""
        begun, least, level = self.meter(), self.function.least, account.level
        evaluations = self.function.nfev
        piece = min(max((begun - self.began) / 25.0, self.whole / 2000.0), self.whole / 60.0)  # short turns first
        try:
            self._work(account, begun + piece)
        finally:
            account.spent += max(self.meter() - begun, 1e-9)
        account.barren = account.barren + 1 if self.function.nfev == evaluations and account.work is None else 0
        better = self.function.least < least - 1e-9 * max(abs(least), 1e-3)
        account.credit += 0.25 * (better - account.credit)
        going = account.work is not None
        account.forecast = self._forecast(level, account.level, self.meter() - begun) if going else 0.5 * account.forecast

    def _work(self, account: Account, until: float) -> None:
        """Pieces of work, to the end of the slice or of the round."""
        if account.work is None:
            account.work, account.level = account.strategy(self.terrain, account.round), math.inf
        for level in account.work:
            account.level = level
            if self.meter() >= until:
                return
        account.work, account.round = None, account.round + 1

    def _forecast(self, before: float, now: float, spent: float) -> float:
        """How soon the best value is passed, from how far a strategy fell in its turn."""
        if not (math.isfinite(before) and math.isfinite(now)):
            return 0.5
        if before - now <= 1e-12 * abs(now):
            return 0.0
        needed = max(now - self.function.least, 0.0) / (before - now) * spent
        left = max(self.whole - (self.meter() - self.began), 1e-9)
        return max(1.0 - needed / left, 0.0)

    def polish(self, steps: int, known: tuple[float, torch.Tensor] | None = None) -> None:
        """A careful descent from the best point, where the budget for it is not used up."""
        begun = self.meter()
        most = POLISH * max(begun - self.began, 0.5 * self.whole) - self.polish_spent
        if most <= 0.0:
            return
        try:
            ended = quasinewton.descend(
                self.function, self.function.best, 1e-10, steps, known, halt=lambda: self.meter() - begun > most
            )
        finally:
            self.polish_spent += self.meter() - begun
        self.polished = self.function.least if ended.why != "steps" else math.inf

    def shares(self) -> dict[str, float]:
        """What part of the spending each strategy had, and the careful descents from the best point."""
        whole = sum(a.spent for a in self.accounts) + self.polish_spent
        return {a.name: a.spent / whole for a in self.accounts} | {"descent": self.polish_spent / whole} if whole > 0.0 else {}


def box_points(function: Function, k: int, seed: int) -> torch.Tensor:
    """k points around the start, within the bounds, for trials: (k, n)."""
    terrain = Terrain(function, seed)
    u = terrain.start + 0.05 * terrain.draws("trial", k).normal(k, function.n)
    return terrain.real(u)
