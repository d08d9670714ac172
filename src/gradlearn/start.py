"""Weights to start from: a run of ours or a safetensors file, and how far they fit a new model.

    place <- tensor          where name and shape are the same; of the head, row by row, classes of the same name

What does not fit begins as the new model drew it, and is named. Use it where a model that has learned something alike is at hand;
pictures come as they came to that one: its size, its channels, its input scale. Pickles are not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn.errors import CheckpointTrouble, InputTrouble, printable
from gradlearn.layout import members_of
from gradlearn.plan import Plan
from gradlearn.record.folder import open_run
from gradlearn.record.tensors import Packed, fault
from gradlearn.record.weights import read_model, read_weights


@dataclass(frozen=True)
class Match:
    """How far weights fit a model."""

    taken: tuple[str, ...]  # tensors that are bitwise those of the weights
    rows: Mapping[str, tuple[tuple[int, int], ...]]  # of the head: (row of the new, row of the old) of each class that both have
    fresh: tuple[str, ...]  # parameters that begin at random, those with a few rows included
    unlike: tuple[str, ...]  # tensors that both have and whose shapes differ
    unused: tuple[str, ...]  # tensors of the weights that the model has not


@dataclass(frozen=True)
class Start:
    """Weights, and what is known of the model that they are of.

    Attributes:
        where: as it was given.
        tensors: by name.
        card: of a run: task, model, options, shape, classes; empty for a file.
    """

    where: str
    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors."""
        digest = hashlib.sha256()
        for chunk in Packed(self.tensors).chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def settle(self, plan: Plan, reading: dict[str, Any]) -> None:
        """The network of the weights, and pictures as it takes them, where nothing else is asked for."""
        model, shape = self.card.get("model"), self.card.get("shape")
        if isinstance(model, str) and plan.choose("model", model, f"as in {self.where}", "data") == model:
            for option, value in self.card.get("options", {}).items():
                plan.choose(f"{model}.{option}", value, f"as in {self.where}", "data")
        if shape and reading.get("size") is None:
            own = {"size": list(shape[:2]), "channels": shape[2]}
            reading |= {"size": self.card["size"]} if "size" in self.card else own

    def match(self, model: nn.Module, classes: Sequence[str] = ()) -> Match:
        """How far they fit. Raises InputTrouble where no hidden layer does."""
        places, members = distinct(model), members_of(model)
        last = next((m for m in reversed(members) if m.role == "head"), None) or next(
            (m for m in members if m.param.ndim > 1), None
        )
        head = set() if last is None else {name for name in places if name.rpartition(".")[0] == last.name.rpartition(".")[0]}
        old = tuple(self.card.get("classes", ()))
        same = {name for name in places if name in self.tensors and self.tensors[name].shape == places[name].shape}
        renamed = set() if not classes or old == tuple(classes) else head
        rows = {
            name: tuple((k, old.index(c)) for k, c in enumerate(classes) if c in old)
            for name in renamed & self.tensors.keys()
            if len(self.tensors[name]) == len(old) and self.tensors[name].shape[1:] == places[name].shape[1:]
        }
        taken = same - renamed
        hidden = [m.name for m in members if m.role != "rest" and m.name not in head]
        if not taken & {*hidden}:
            raise InputTrouble(f"{printable(self.where)}: {self._misfit(places, hidden or list(places))}")
        parameters = {m.name for m in members}
        unlike = (places.keys() & self.tensors.keys()) - same - renamed
        return Match(
            taken=tuple(name for name in places if name in taken),
            rows={name: pairs for name, pairs in rows.items() if pairs},
            fresh=tuple(name for name in places if name in parameters - taken),
            unlike=tuple(name for name in places if name in unlike),
            unused=tuple(sorted(self.tensors.keys() - places.keys())),
        )

    def _misfit(self, places: Mapping[str, Tensor], body: list[str]) -> str:
        for name in body:
            if name in self.tensors and self.tensors[name].shape != places[name].shape:
                wrong, right = list(self.tensors[name].shape), list(places[name].shape)
                return f"tensor {name!r} is {wrong}, model expects {right}; wrong model"
        missing = [name for name in body if name not in self.tensors]
        return f"missing tensor {missing[0]!r} (+{len(missing) - 1} more); wrong or damaged model"

    def take_over(self, model: nn.Module, classes: Sequence[str] = ()) -> Match:
        """Put them into a new model, in place; what does not fit stays as it was drawn. Raises as `match`."""
        found, places = self.match(model, classes), distinct(model)
        with torch.no_grad():
            for name in found.taken:
                places[name].copy_(self.tensors[name])
            for name, pairs in found.rows.items():
                for new, old in pairs:
                    places[name][new].copy_(self.tensors[name][old])
        return found

    def told(self, match: Match, classes: Sequence[str]) -> str:
        """What came of it, in a line."""
        kept = max(map(len, match.rows.values()), default=0)
        parts = [f"{len(match.taken)} of {len(self.tensors)} tensors taken over"]
        if match.fresh:
            rows = f", but for {kept} of {len(classes)} classes that both have" if kept else ""
            parts.append(f"{named(match.fresh)} new{rows}")
        if match.unlike:
            parts.append(f"of another shape: {named(match.unlike)}")
        if match.unused:
            parts.append(f"not used: {named(match.unused)}")
        return f"from {printable(self.where)}: {'; '.join(parts)}"


def named(names: Sequence[str], most: int = 3) -> str:
    """A few names, and how many more."""
    return ", ".join(map(printable, names[:most])) + (f" (+{len(names) - most} more)" if len(names) > most else "")


def distinct(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of a module's state by name; tied ones once, under their first name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def read_start(path: Path) -> Start:
    """The weights of a run, or of a safetensors file.

    Raises:
        InputTrouble: not there, a pickle, no safetensors, or numbers that are not finite.
    """
    if path.name == "weights.safetensors" and path.parent.name == "model" and (path.parent / "card.json").is_file():
        path = path.parent.parent
    if path.is_dir():
        try:
            tensors, card = read_model(open_run(path))
        except CheckpointTrouble as error:
            raise InputTrouble(str(error)) from None
    else:
        tensors, card = read_weights(path), {}
    if worst := fault(tensors, lambda name: False):
        raise InputTrouble(f"{printable(path)}: {worst}; give weights that are finite")
    return Start(str(path), tensors, card)
