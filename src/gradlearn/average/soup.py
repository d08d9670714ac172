"""Soup: the mean of those of the best weights of the run whose mean is better still.

    at the end, from the best to the worst of the `size` best:   keep it  <=>  score(mean(kept + it)) >= score(mean(kept))

Wortsman et al., "Model soups", ICML 2022, with the points of one run in place of many runs. Never worse on the validation
data than the best weights seen, and so also a way to keep the best. It has chosen on the validation data: believe the test
score. It needs scores on the way (`score_every`) and `size` copies of theta, in each snapshot and checkpoint too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gradlearn.errors import InputTrouble
from gradlearn.symbols import Now, Score
from gradlearn.theta import Theta

__all__ = ["Soup"]


class Soup:
    """Greedy soup of the best weights by validation score; until the end theta itself is shown, and judged.

    Args:
        size: weights that are kept for it, at least 1; 1 = just the best.
    """

    refresh = True

    def __init__(self, theta: Theta, *, size: int = 5) -> None:
        if size < 1:
            raise InputTrouble(f"--soup.size {size}: must be at least 1")
        del theta
        self.size = size
        self.kept: list[tuple[float, list[Tensor]]] = []  # the best first; the number is higher for better
        self.mean: list[Tensor] = []  # what was chosen in the end

    def see(self, theta: Theta, now: Now | None = None) -> None:
        """Nothing; it is told by `judged`."""

    def judged(self, theta: Theta, score: Score) -> None:
        """These weights have this score on the validation data; a score that is no number is none."""
        merit = _merit(score)
        if self.mean or merit != merit or (len(self.kept) == self.size and merit <= self.kept[-1][0]):
            return
        self.kept.append((merit, theta.snapshot()))
        self.kept.sort(key=lambda one: -one[0])  # stable: of equals the earlier stays before
        del self.kept[self.size :]

    def choose(self, theta: Theta, scored: Callable[[], Score]) -> None:
        """Make the soup; theta is bitwise as before. `scored` scores the model as it stands; called at most size + 1 times."""
        if self.mean:
            return
        own = theta.snapshot()
        try:
            self.judged(theta, scored())
            best, chosen = -math.inf, []
            for merit, candidate in self.kept:
                mean = mean_of([*chosen, candidate])
                theta.restore(mean)
                merit = _merit(scored()) if chosen else merit
                if merit >= best:
                    best, self.mean = merit, mean
                    chosen.append(candidate)
        finally:
            theta.restore(own)

    @contextmanager
    def shown(self, theta: Theta) -> Iterator[None]:
        """Inside, the model holds the soup once it is made; afterwards it is bitwise as before."""
        own = theta.snapshot()
        if self.mean:
            theta.restore(self.mean)
        try:
            yield
        finally:
            theta.restore(own)

    def state(self) -> dict[str, Tensor]:
        """The best weights and their scores, and the soup."""
        kept = {f"kept.{i}.{j}": t for i, (_, tensors) in enumerate(self.kept) for j, t in enumerate(tensors)}
        merits = torch.tensor([merit for merit, _ in self.kept], dtype=torch.float64)
        return kept | {f"mean.{j}": t for j, t in enumerate(self.mean)} | {"merits": merits}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        merits = state["merits"].tolist()
        self.kept = [(merit, _listed(state, f"kept.{i}.")) for i, merit in enumerate(merits)]
        self.mean = _listed(state, "mean.")


def mean_of(points: list[list[Tensor]]) -> list[Tensor]:
    """The mean of snapshots, tensor by tensor; what cannot be averaged (counts, infinite masks) is the first one's."""
    means = []
    for tensors in zip(*points, strict=True):
        first = tensors[0]
        if len(points) == 1 or not (first.is_floating_point() and all(bool(torch.isfinite(t).all()) for t in tensors)):
            means.append(first.clone())
        else:
            means.append(torch.stack([t.double() for t in tensors]).mean(0).to(first.dtype))
    return means


def _merit(score: Score) -> float:
    return score.value if score.higher else -score.value


def _listed(state: Mapping[str, Tensor], prefix: str) -> list[Tensor]:
    found = {int(k.removeprefix(prefix)): v.clone() for k, v in state.items() if k.startswith(prefix)}
    return [found[i] for i in range(len(found))]
