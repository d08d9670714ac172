"""Images: which class does a picture belong to?

    losses = cross_entropy(model(pixels), label),   score = share of pictures whose largest output is their class

Folders of pictures, IDX and Parquet files, or scikit-learn's digits; small convolutional networks trained from scratch. Pictures
stay bytes until the model's first layer; a batch is one gather, shifts and mirror images included. For pictures of more than
about 64 pixels a side, and for fewer than a few hundred of them, a pretrained network is the better start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlearn.data.augment import shift_mirror
from gradlearn.find import find
from gradlearn.plan import Plan, batch_size, usual_epochs
from gradlearn.symbols import Batch, Data, Losses, Now, Score

if TYPE_CHECKING:
    from gradlearn.data.images import Pictures

__all__ = ["Images"]

PART = 500  # pictures scored at once


class PictureData:
    """Some of the pictures as `Data`; training draws shift and mirror them, draw -1 leaves them as they are."""

    def __init__(self, pictures: Pictures, rows: np.ndarray, shift: int = 0, mirror: bool = False) -> None:
        self.pictures, self.rows = pictures, torch.from_numpy(np.ascontiguousarray(rows))
        self.labels = torch.from_numpy(np.ascontiguousarray(pictures.labels))
        self.pixels = torch.from_numpy(pictures.pixels) if isinstance(pictures.pixels, np.ndarray) else None
        self.shift, self.mirror = shift, mirror

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """Pictures (n, c, h, w) uint8, channels last in memory, and labels (n,) int64."""
        rows = self.rows.index_select(0, index)
        if self.pixels is not None:
            pixels = self.pixels.index_select(0, rows)
        else:
            pixels = torch.from_numpy(self.pictures.pixels.take(rows.numpy()))
        if draw >= 0 and (self.shift or self.mirror):
            pixels = shift_mirror(pixels, draw, self.shift, self.mirror)
        return Batch(pixels.permute(0, 3, 1, 2), self.labels.index_select(0, rows), rows, draw)


class Images:
    """Classification of pictures.

    Args:
        pictures: what `data.images.read` returned.
        plan: the choices of the run; `choose` fills in what is open.
    """

    name = "images"

    def __init__(self, pictures: Pictures, plan: Plan) -> None:
        self.pictures, self.plan = pictures, plan
        self.shape = tuple(int(k) for k in pictures.pixels.shape[1:])
        self.loss = None

    def choose(self) -> None:
        """Model, augmentation and loss, before the length of the run is known."""
        plan = self.plan
        height, width, _ = self.shape
        plan.choose("model", "convnet", "pictures: a convolutional network")
        side = min(height, width)
        plan.choose("shift", max(round(side / 16), 1) if side > 6 else 0, f"a sixteenth of {side} pixels")
        if "mirror" not in plan:
            safe, why = mirror_safe(self.pictures, plan.get("seed", 0))
            plan.choose("mirror", safe, why, "measured")
        plan.choose(
            "mirror_score",
            plan["mirror"],
            "a picture and its mirror image are scored together where both are trained on",
        )
        plan.choose("cross_entropy.label_smoothing", 0.1, "keeps the outputs from growing without bound")

    def choose_size(self, n: int) -> None:
        """Width of the network where the time is open."""
        self.plan.choose("convnet.width", 32, "the usual one")

    def choose_size_in(self, seconds: float) -> None:
        """Width of the network for so many seconds of training."""
        self.plan.choose("convnet.width", 32, "the usual one")

    def work(self) -> float:
        """Floating-point operations of one training step, about: forward, and twice that backward."""
        model = find("models", self.plan["model"])(self.shape, len(self.pictures.classes), **self.plan.options(self.plan["model"]))
        return 6.0 * getattr(model, "multiplications", 0) * batch_size(self.plan, len(self.pictures.split["train"]))

    def lint(self) -> list[dict[str, Any]]:
        """What is to be said about the data: rows of level, what, count, examples."""
        from gradlearn.data.lint import lint

        return lint(self.pictures)

    def suggested_epochs(self, n: int) -> int:
        """Epochs for a run of no given length."""
        return usual_epochs(self.plan, n, steps=2000, most=60, least=8)

    def model(self, seed: int) -> nn.Module:
        """A new network; its input scale is measured on training pictures."""
        name = self.plan["model"]
        model = find("models", name)(self.shape, len(self.pictures.classes), **self.plan.options(name))
        calibrate(model, self.data("train"))
        return model.to(memory_format=torch.channels_last)

    def data(self, split: str) -> Data:
        """Pictures of one split; only those of training are augmented."""
        train = split == "train"
        return PictureData(
            self.pictures,
            self.pictures.split[split],
            self.plan.get("shift", 0) if train else 0,
            bool(self.plan.get("mirror", False)) and train,
        )

    def collect(self, model: nn.Module, now: Now) -> Data:
        """The same pictures in every round."""
        return self.data("train")

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        """Cross-entropy of each picture."""
        if self.loss is None:
            self.loss = find("objective", "cross_entropy")(ignore=None, **self.plan.options("cross_entropy"))
        return self.loss(model(batch.x), batch.y)

    def score(self, model: nn.Module, data: Data) -> Score:
        """Accuracy, and the mean cross-entropy without smoothing."""
        logp, labels = self.outputs(model, data)
        accuracy = (logp.argmax(1) == labels).double().mean().item()
        loss = F.nll_loss(logp, labels).item()
        return Score("accuracy", True, accuracy, {"accuracy": accuracy, "loss": loss})

    def outputs(self, model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
        """Log-probabilities (n, classes) and labels (n,) of all of the data; the model is in evaluation mode already."""
        parts, labels = [], []
        for a in range(0, len(data), PART):
            batch = data(torch.arange(a, min(a + PART, len(data))), -1)
            parts.append(log_probabilities(model, batch.x, bool(self.plan.get("mirror_score", False))))
            labels.append(batch.y)
        return torch.cat(parts), torch.cat(labels)

    def described(self) -> dict[str, Any]:
        """The [data] table of run.toml."""
        p = self.pictures
        counts = {name: len(rows) for name, rows in p.split.items()}
        return {
            "source": p.source,
            "kind": p.kind,
            "fingerprint": p.fingerprint,
            "classes": list(p.classes),
            "shape": list(self.shape),
        } | counts

    def card(self) -> dict[str, Any]:
        """What `predict` and `load` need beside the weights."""
        name = self.plan["model"]
        return {
            "task": "images",
            "model": name,
            "options": self.plan.options(name),
            "shape": list(self.shape),
            "classes": list(self.pictures.classes),
            "mirror_score": bool(self.plan.get("mirror_score", False)),
        }


def rebuild(card: Mapping[str, Any]) -> nn.Module:
    """The empty network that a card describes."""
    model = find("models", card["model"])(tuple(card["shape"]), len(card["classes"]), **card["options"])
    return model.to(memory_format=torch.channels_last)


def calibrate(model: nn.Module, data: Data, most: int = 4096) -> None:
    """Tell the model the scale of its input, from training pictures evenly spread over the data."""
    rows = torch.linspace(0, len(data) - 1, min(len(data), most)).long()
    from gradlearn.models.convnet import calibrate as set_scale

    set_scale(model, data(rows, -1).x)  # type: ignore[arg-type]


def log_probabilities(model: nn.Module, x: Tensor, mirror: bool) -> Tensor:
    """(n, classes): log of the probabilities, with `mirror` averaged over the picture and its mirror image."""
    logp = F.log_softmax(model(x), 1)
    if not mirror:
        return logp
    other = F.log_softmax(model(x.flip(3).contiguous(memory_format=torch.channels_last)), 1)
    return torch.logaddexp(logp, other) - math.log(2.0)


def mirror_safe(pictures: Pictures, seed: int) -> tuple[bool, str]:
    """Whether a mirrored picture still looks like its class, and the sentence that says so."""
    from gradlearn.data.stored import take

    rows = pictures.split["train"]
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 4000)).astype(np.int64)]
    x = take(pictures.pixels, rows).astype(np.float32)
    y = pictures.labels[rows]
    half = len(rows) // 2
    order = np.argsort(np.arange(len(rows)) % 2, kind="stable")
    x, y = x[order], y[order]
    centres = np.stack(
        [
            x[:half][y[:half] == c].mean(0) if (y[:half] == c).any() else np.full(x.shape[1:], 1e9)
            for c in range(len(pictures.classes))
        ]
    )
    plain, mirrored = (_nearest(x[half:] if k == 0 else x[half:, :, ::-1], centres, y[half:]) for k in (0, 1))
    safe = bool(mirrored > 0.8 * plain)
    word = "is" if safe else "is not"
    return (
        safe,
        f"a mirrored picture {word} as close to its class's mean picture: {mirrored:.0%} against {plain:.0%} right",
    )


def _nearest(x: np.ndarray, centres: np.ndarray, y: np.ndarray) -> float:
    flat, c = x.reshape(len(x), -1), centres.reshape(len(centres), -1)
    distance = (c * c).sum(1)[None] - 2.0 * flat @ c.T
    return float((distance.argmin(1) == y).mean())


def prepare(path: Path | None, plan: Plan, **reading: Any) -> Images:
    """Read the pictures and make the task. `reading` goes to `data.images.read`."""
    from gradlearn.data.images import read

    return Images(read(path, seed=plan.get("seed", 0), **reading), plan)
