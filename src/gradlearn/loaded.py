"""A trained model back from its run folder: weights, classes, preprocessing, as they were saved.

    model = load(Path("runs/images-001"));   model.predict(pixels)

The architecture is a name among the files of `models/` with plain options; nothing else in a card is ever acted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.errors import CheckpointTrouble, InputTrouble
from gradlearn.find import find, names
from gradlearn.loop import evaluating
from gradlearn.record.folder import open_run
from gradlearn.record.weights import read_model


@dataclass(frozen=True)
class Loaded:
    """A trained model.

    Attributes:
        model: the module in evaluation mode.
        card: what was saved beside the weights: task, model, options, classes, shape.
    """

    model: nn.Module
    card: Mapping[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs; empty for a model of one's own."""
        return tuple(self.card.get("classes", ()))

    def predict(self, x: Any) -> Tensor:
        """Outputs for x on the CPU, in batches. For pictures x is (n, h, w, c) bytes and the result (n, classes) probabilities."""
        if self.card["task"] == "detect":
            raise InputTrouble("predict: a detector takes picture files; gradlearn.found.find_boxes(model, files)")
        if self.card["task"] != "images":
            from gradlearn.supervised import predict

            return predict(self.model, x)
        from gradlearn.classified import log_probabilities

        pixels = torch.as_tensor(np.asarray(x))
        if pixels.ndim != 4 or list(pixels.shape[1:]) != self.card["shape"]:
            raise InputTrouble(
                f"predict: expected pictures (n, {', '.join(map(str, self.card['shape']))}), got {tuple(pixels.shape)}"
            )
        with evaluating(self.model):
            views = self.card["mirror_score"], self.card.get("shift_score", 0)
            parts = [log_probabilities(self.model, part.permute(0, 3, 1, 2), *views).exp() for part in pixels.split(500)]
        return torch.cat(parts)


def load(folder: Path, model: nn.Module | None = None) -> Loaded:
    """The model of a run folder; `model` is the empty module of a run of `fit`.

    Raises:
        CheckpointTrouble: no model there yet, or damaged. InputTrouble: the wrong or no module for a run of `fit`.
    """
    folder = open_run(folder)
    if not (folder / "model").is_dir():
        raise CheckpointTrouble(f"{folder}: no trained model yet; finish the run with: gradlearn resume {folder}")
    tensors, card = read_model(folder)
    empty: nn.Module | None = find("tasks", card["task"]).rebuild(card) if card.get("task") in names("tasks") else model
    if empty is None:
        raise InputTrouble(f"{folder}: a run of fit() does not say how its module is made; call load(run, model=YourModule())")
    fill(empty, tensors)
    empty.eval()
    return Loaded(empty, card)


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put saved weights into a module; tied parameters are saved once. Raises InputTrouble where names or shapes differ."""
    own: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        own.setdefault(id(tensor), (name, tensor))
    places = dict(own.values())
    missing, unknown = sorted(places.keys() - tensors.keys()), sorted(tensors.keys() - places.keys())
    if missing or unknown:
        what, names = ("missing", missing) if missing else ("unknown", unknown)
        raise InputTrouble(f"weights: {what} tensor {names[0]!r} (+{len(names) - 1} more); wrong or damaged model")
    with torch.no_grad():
        for name, place in places.items():
            if place.shape != tensors[name].shape:
                raise InputTrouble(
                    f"weights: tensor {name!r} is {list(tensors[name].shape)}, model expects {list(place.shape)}; wrong model"
                )
            place.copy_(tensors[name])
