"""The only source of randomness: every draw is a pure function of (seed, purpose, counters), so that nothing depends on history.

    bits(seed, purpose, a, b, ...) = mix(mix(mix(seed ^ purpose) + a) + b) ...

`mix` is the splitmix64 finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), applied
to whole numpy arrays of counters at once: the draws of a batch are a few vector operations, whatever the batch. Use it for
everything that we draw; a module's own dropout draws from torch's default generator, which `reseed` sets for each step.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1


@lru_cache(maxsize=256)
def _purpose(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def key(seed: int, purpose: str, *counters: int) -> int:
    """One 63-bit number for (seed, purpose, counters): the scalar twin of `bits`."""
    state = _scalar_mix(((seed & _MASK) ^ _purpose(purpose)) & _MASK)
    for counter in counters:
        state = _scalar_mix((state + counter) & _MASK)
    return state >> 1


def _scalar_mix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def bits(seed: int, purpose: str, *counters: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    """64 random bits for each combination of the counters (numbers or integer arrays, broadcast against each other)."""
    state = np.atleast_1d(np.uint64(_scalar_mix(((seed & _MASK) ^ _purpose(purpose)) & _MASK)))
    for counter in counters:
        z = state + (np.uint64(counter & _MASK) if isinstance(counter, int) else counter.astype(np.uint64))
        z = z + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX1
        z = (z ^ (z >> np.uint64(27))) * _MIX2
        state = z ^ (z >> np.uint64(31))
    return state


def uniform(seed: int, purpose: str, *counters: int | NDArray[np.integer]) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), one for each combination of the counters."""
    return (bits(seed, purpose, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(below: int, seed: int, purpose: str, *counters: int | NDArray[np.integer]) -> NDArray[np.int64]:
    """Uniform whole numbers in [0, below)."""
    return (uniform(seed, purpose, *counters) * below).astype(np.int64)


def permutation(n: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """A random order of range(n): (n,) int64."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *counters))).permutation(n)


def reseed(draw: int, part: int = 0) -> None:
    """Set torch's default generators for one forward pass: what a module draws is a function of (draw, part) alone."""
    import torch

    seed = key(draw, "module", part)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


class preserved:  # reads as a verb; contextlib's way of writing it costs each step 5 us
    """Inside, anything may draw from torch's default generators; afterwards they are bitwise as found."""

    def __enter__(self) -> None:
        import torch

        self._state = torch.default_generator.get_state()
        self._devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def __exit__(self, *trouble: object) -> None:
        import torch

        torch.default_generator.set_state(self._state)
        if self._devices:
            torch.cuda.set_rng_state_all(self._devices)
