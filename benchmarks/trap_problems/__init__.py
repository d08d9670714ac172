"""The traps of `traps.py`: one function is one problem, its docstring says which."""

from __future__ import annotations

from . import noise, scale, sequence, surface
from .trap import LEVELS, PROBLEMS, Problem, Trap

__all__ = ["LEVELS", "PROBLEMS", "Problem", "Trap", "noise", "scale", "sequence", "surface"]
