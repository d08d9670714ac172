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

from gradlearn.data.apart import in_memory
from gradlearn.data.augment import shift_mirror
from gradlearn.data.mirror import mirror_ratio, shrunk
from gradlearn.data.stored import take
from gradlearn.data.warp import warp
from gradlearn.errors import InputTrouble, nearest
from gradlearn.find import find
from gradlearn.plan import Plan, batch_size, is_number, usual_epochs
from gradlearn.symbols import Batch, Data, Losses, Now, Score

if TYPE_CHECKING:
    from gradlearn.data.images import Pictures

__all__ = ["Images"]

PART = 1 << 18  # bytes of pictures scored at once, at most a batch (of tiny ones 500): no tensor is larger than in a training step
MODELS = ("convnet",)
FEW, STEPS = 500, 400  # fewer training pictures are warped, and seen in so many steps at least, whatever the passes
WIDTHS = (16, 24, 32, 48, 64, 96)


class PictureData:
    """Some of the pictures as `Data`; training draws shift, mirror and warp them, draw -1 leaves them as they are."""

    def __init__(self, pictures: Pictures, rows: np.ndarray, shift: int = 0, mirror: bool = False, warp: float = 0.0) -> None:
        self.pictures, self.rows = pictures, torch.from_numpy(np.ascontiguousarray(rows))
        self.labels = torch.from_numpy(np.ascontiguousarray(pictures.labels))
        self.pixels, self.at = in_memory(pictures.pixels, rows)
        self.shift, self.mirror, self.warp, self.strength = shift, mirror, warp, 1.0

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """Pictures (n, c, h, w) uint8, channels last in memory, and labels (n,) int64."""
        rows = self.rows.index_select(0, index).long()
        if self.pixels is not None:
            pixels = self.pixels.index_select(0, rows if self.at is None else self.at.index_select(0, index))
        else:
            pixels = torch.from_numpy(self.pictures.pixels.take(rows.numpy()))
        if draw >= 0 and (self.shift or self.mirror):
            shift = min(round(self.shift * self.strength), min(pixels.shape[1:3]) // 2)
            pixels = shift_mirror(pixels, draw, shift, self.mirror)
        if draw >= 0 and self.warp:
            pixels = warp(pixels, draw, self.warp * self.strength)
        return Batch(pixels.permute(0, 3, 1, 2), self.labels.index_select(0, rows).long(), rows, draw)

    def about(self, what: str) -> Tensor | None:
        """Labels: (n,) int64."""
        return self.labels.index_select(0, self.rows.long()).long() if what == "labels" else None


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
        self.made: Any = None  # the loss, once its options are known
        self.scored: tuple[Data, Tensor, Tensor] | None = None  # the last: data, log-probabilities, labels

    @property
    def few(self) -> bool:
        """Whether there are so few training pictures that all else is chosen for that."""
        return len(self.pictures.split["train"]) < FEW

    def choose(self) -> None:
        """Model, loss and update: what does not depend on the length of the run."""
        plan, n = self.plan, len(self.pictures.split["train"])
        plan.choose("model", "convnet", "pictures: a convolutional network")
        if plan["model"] not in MODELS:
            raise InputTrouble(f"--model {plan['model']}: no network for pictures{nearest(plan['model'], MODELS)}")
        plan.choose("batch", 64 if n < 5000 else 128, f"{n} training pictures; larger batches are no faster on a processor")
        plan.choose("cross_entropy.label_smoothing", 0.1, "keeps the outputs from growing without bound")
        plan.choose("update", "adamw", "robust on every kind of model; each coordinate has a rate of its own")
        plan.choose("best.times", 1e3, "labels are smoothed: a higher loss of the true ones alone is no worse model")
        if plan["update"] in ("adamw", "nadam"):
            plan.choose(f"{plan['update']}.betas", [0.9, 0.98], "a memory of 50 steps for the squares: runs are short")
            plan.choose(f"{plan['update']}.weight_decay", 0.05, "augmentation and smoothing hold most of it")
        plan.choose("rate", ["warmup", "linear"], "the length is known: a straight line to zero is optimal for the last iterate")
        if "warmup" in plan["rate"]:
            plan.choose("warmup.share", 0.1, "the scale of the gradients is unknown at first")

    def choose_size(self) -> None:
        """Width of the network where the time is open."""
        if self.plan["model"] == "convnet":
            self.plan.choose("convnet.width", 32, "the usual one")

    def choose_size_in(self, seconds: float, pace: float) -> None:
        """Width of the network for so many seconds, where a picture takes `pace` seconds of training at width 32.

        The largest width that sees every picture ten times: more passes are worth more than more width up to there.
        """
        n = len(self.pictures.split["train"])
        if self.plan["model"] != "convnet" or "convnet.width" in self.plan:
            return
        usual = self._network(32).multiplications
        widths = [w for w in WIDTHS if w <= (32 if n < 5000 else 64 if n < 20000 else WIDTHS[-1])]
        epochs = {w: seconds / (pace * n * self._network(w).multiplications / usual) for w in widths}
        least = 16 if self.shape[2] == 1 else 32
        width = max([w for w in widths if epochs[w] >= 10.0], default=least)
        why = f"the largest that sees each of {n} pictures 10 times; about {epochs[width]:.1f} times at this width"
        self.plan.choose("convnet.width", width, why, "measured")

    def choose_augmentation(self, epochs: float) -> None:
        """Shifts and mirror images for a run of so many epochs."""
        plan, side = self.plan, min(self.shape[:2])
        why = "few pictures: each is turned, bent and lit anew in every step" if self.few else "moves and mirror images are enough"
        if not (is_number(plan.choose("warp", 1.0 if self.few else 0.0, why)) and plan["warp"] >= 0):
            raise InputTrouble(f"--warp {plan['warp']}: must be a finite number of at least 0")
        shift = max(round(side / 16), 1) if epochs >= 2 and side > 6 and not plan["warp"] else 0
        if not 0 <= plan.get("shift", 0) < side:
            raise InputTrouble(f"--shift {plan['shift']}: must be from 0 to {side - 1}, less than the side of a picture")
        none = "a warp moves pictures too" if plan["warp"] else "too few epochs to need new pictures"
        plan.choose("shift", shift, f"a sixteenth of {side} pixels" if shift else none)
        if "mirror" not in plan:
            plan.choose("mirror", *self._mirror(epochs), "measured")
        plan.choose("mirror_score", plan["mirror"], "a picture and its mirror image are scored together where both are trained on")

    def _mirror(self, epochs: float) -> tuple[bool, str]:
        rows = self.pictures.split["train"]
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 6000)).astype(np.int64)]
        small = np.concatenate([shrunk(take(self.pictures.pixels, part)) for part in np.array_split(rows, len(rows) // 200 + 1)])
        ratio = mirror_ratio(small, self.pictures.labels[rows], len(self.pictures.classes))
        if ratio is None:
            colour = self.shape[2] == 3
            return colour, "a linear classifier could not tell; colour pictures are mirrored, grey ones are not"
        told = f"a linear classifier keeps {ratio:.0%} of its skill on mirrored pictures"
        if ratio < 0.45:
            return False, f"{told}: left and right matter"
        if epochs < 10.0 * (1.0 - ratio):
            return False, f"{told}, but {epochs:.1f} epochs are too few for twice the pictures"
        return True, told

    def _network(self, width: int) -> Any:
        return find("models", "convnet")(self.shape, len(self.pictures.classes), width)

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
        epochs, size = usual_epochs(self.plan, n, steps=2000, most=60, least=8), batch_size(self.plan, n)
        if not self.few or "steps" in self.plan:
            return epochs
        return self.plan.choose("epochs", max(epochs, math.ceil(STEPS * size / n)), f"{n} pictures are few: {STEPS} steps or more")

    def model(self, seed: int) -> nn.Module:
        """A new network; its input scale is measured on training pictures."""
        name = self.plan["model"]
        model = find("models", name)(self.shape, len(self.pictures.classes), **self.plan.options(name))
        calibrate(model, self.data("train"))
        return model.to(memory_format=torch.channels_last)

    def data(self, split: str) -> PictureData:
        """Pictures of one split; only those of training are augmented."""
        rows, get = self.pictures.split[split], self.plan.get
        if split != "train":
            return PictureData(self.pictures, rows)
        return PictureData(self.pictures, rows, get("shift", 0), bool(get("mirror", False)), float(get("warp", 0.0)))

    def held(self, split: str) -> PictureData | None:
        """Pictures of valid or test; None where there are none."""
        return self.data(split) if len(self.pictures.split[split]) else None

    def collect(self, model: nn.Module, now: Now) -> Data:
        """The same pictures in every round."""
        return self.data("train")

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        """Cross-entropy of each picture."""
        return self.compare(model(batch.x), batch.y)

    def output(self, model: nn.Module, x: Tensor) -> Tensor:
        """What the losses compare."""
        return model(x)

    def compare(self, output: Tensor, y: Tensor) -> Losses:
        """The losses, from outputs."""
        return self.loss(output, y)

    @property
    def loss(self) -> Any:
        """Cross-entropy with the plan's options."""
        if self.made is None:
            self.made = find("objective", "cross_entropy")(ignore=None, **self.plan.options("cross_entropy"))
        return self.made

    def score(self, model: nn.Module, data: Data) -> Score:
        """Accuracy, and the mean cross-entropy without smoothing, with the standard error of that mean."""
        logp, labels = self.outputs(model, data)
        self.scored = (data, logp, labels)
        accuracy = (logp.argmax(1) == labels).double().mean().item()
        losses = F.nll_loss(logp, labels, reduction="none").double()
        error = losses.std(correction=0).item() / max(len(losses), 1) ** 0.5
        return Score("accuracy", True, accuracy, {"accuracy": accuracy, "loss": losses.mean().item(), "loss_error": error})

    def outputs(self, model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
        """Log-probabilities (n, classes) and labels (n,) of all of the data; the model is in evaluation mode already."""
        n, size = len(data), max(PART // math.prod(self.shape), 1)
        size = 500 if size >= 500 else min(size, batch_size(self.plan, len(self.pictures.split["train"])))
        # made before the first part: what outlives a part would keep the memory of those before it from being used again
        logp, labels = torch.empty(n, len(self.pictures.classes)), torch.empty(n, dtype=torch.int64)
        mirror = bool(self.plan.get("mirror_score", False))
        for a in range(0, n, size):
            batch = data(torch.arange(a, min(a + size, n)), -1)
            logp[a : a + size] = log_probabilities(model, batch.x, mirror)
            labels[a : a + size] = batch.y
        return logp, labels

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


def calibrate(model: nn.Module, data: PictureData, most: int = 1 << 22) -> None:
    """Tell the model the scale of its input, from training pictures evenly spread over the data, `most` bytes of them."""
    pixels = math.prod(data.pictures.pixels.shape[1:])
    rows = torch.linspace(0, len(data) - 1, min(len(data), max(most // pixels, 64))).long()
    from gradlearn.models.convnet import calibrate as set_scale

    set_scale(model, data(rows, -1).x)  # type: ignore[arg-type]


def log_probabilities(model: nn.Module, x: Tensor, mirror: bool) -> Tensor:
    """(n, classes): log of the probabilities, with `mirror` averaged over the picture and its mirror image."""
    logp = F.log_softmax(model(x), 1)
    if not mirror:
        return logp
    other = F.log_softmax(model(x.flip(3).contiguous(memory_format=torch.channels_last)), 1)
    return torch.logaddexp(logp, other) - math.log(2.0)


def prepare(path: Path | None, plan: Plan, **reading: Any) -> Images:
    """Read the pictures and make the task. `reading` goes to `data.images.read`."""
    from gradlearn.data.images import read

    return Images(read(path, seed=plan.get("seed", 0), **reading), plan)
