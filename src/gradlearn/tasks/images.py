"""Images: which class does a picture belong to?

    losses = cross_entropy(model(pixels), label),   score = share of pictures whose largest output is their class

Folders of pictures, IDX and Parquet files, or scikit-learn's digits; small convolutional networks trained from scratch. Pictures
stay bytes until the model's first layer, through every augmentation (`data/augment.py`). For pictures of more than
about 64 pixels a side, and for fewer than a few hundred of them, a pretrained network is the better start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlearn import picture_plan
from gradlearn.classified import Answers, interface, log_probabilities
from gradlearn.data.augment import Augment, augment_of
from gradlearn.data.drawn import PictureData, calibrate
from gradlearn.data.mirror import mirror_ratio, shrunk
from gradlearn.data.progressive import small
from gradlearn.data.stored import take
from gradlearn.find import find
from gradlearn.insight.by_class import by_class, uneven
from gradlearn.plan import Plan, batch_size, usual_epochs
from gradlearn.symbols import Batch, Data, Losses, Now, Score

if TYPE_CHECKING:
    from gradlearn.data.images import Pictures
    from gradlearn.loop import Descent
    from gradlearn.record.record import Record
    from gradlearn.start import Start

__all__ = ["Images", "Answers", "interface"]

PART = 1 << 18  # bytes of pictures scored at once, at most a batch (of tiny ones 500): no tensor is larger than in a training step
FOUND = {"digits": "scikit-learn's digits", "folder": "an image folder", "idx": "an IDX folder", "parquet": "image Parquet"}
STEPS = 400  # fewer than `FEW` training pictures are seen in so many steps at least, whatever the passes


class Images:
    """Classification of pictures.

    Args:
        pictures: what `data.images.read` returned.
        plan: the choices of the run; `choose` fills in what is open.
    """

    name = "images"
    reads = ("valid", "test", "size", "skip_bad", "max_pixels", "memory", "allow_empty_class", "follow_links_to")

    def __init__(self, pictures: Pictures, plan: Plan) -> None:
        self.pictures, self.plan = pictures, plan
        self.n, self.notes = len(pictures.split["train"]), pictures.notes
        self.nbytes, self.fingerprint = pictures.pixels.nbytes, pictures.fingerprint
        self.shape = pictures.shape
        self.uneven = uneven(pictures.labels[pictures.split["train"]], len(pictures.classes))
        self.made: Any = None  # the loss, once its options are known
        self.scored: tuple[Data, Tensor, Tensor] | None = None  # the last: data, log-probabilities, labels
        self.start: Start | None = None  # weights that a new network begins with

    @classmethod
    def read(cls, path: Path | None, plan: Plan, **reading: Any) -> Images:
        """Read the pictures and make the task. `reading` goes to `data.images.read`."""
        from gradlearn.data.images import read

        return cls(read(path, seed=plan.get("seed", 0), **reading), plan)

    def again(self, plan: Plan, rows: Tensor | None = None) -> Images:
        """The same task under another plan, of the training pictures only these rows."""
        pictures = self.pictures
        if rows is not None:
            pictures = replace(pictures, split=pictures.split | {"train": pictures.split["train"][rows.numpy()]})
        other = Images(pictures, plan)
        other.start = self.start
        return other

    def found(self) -> str:
        """What was found where the data were to be, in a line."""
        (h, w, c), split = self.shape, self.pictures.split
        counts = ", ".join(f"{len(rows):,} {part}" if len(rows) else f"none for {part}" for part, rows in split.items())
        colour = "grey" if c == 1 else "colour"
        return f"{FOUND[self.pictures.kind]}: {len(self.pictures.classes)} classes, pictures of {h} x {w} {colour}; {counts}"

    @property
    def few(self) -> bool:
        """Whether there are so few training pictures that all else is chosen for that."""
        return len(self.pictures.split["train"]) < picture_plan.FEW

    @property
    def about(self) -> picture_plan.About:
        """What the plan's rules for pictures go by."""
        return picture_plan.About(self.n, self.shape, self.few, self.start is not None)

    def choose(self) -> None:
        """Model, loss and update: what does not depend on the length of the run."""
        picture_plan.choose(self.plan, self.about)

    @property
    def usual(self) -> Mapping[str, Any]:
        """The model, its width and the size of the pictures that its pace is measured at."""
        return picture_plan.usual(self.plan)

    @property
    def targets(self) -> float:
        """Pictures to a parameter of the model."""
        with torch.device("meta"):
            model = self._network()
        return self.n / sum(p.numel() for p in model.parameters())

    def choose_size(self) -> None:
        """Width of the network where the time is open."""
        picture_plan.choose_size(self.plan, self.about)

    def choose_size_in(self, seconds: float, pace: float) -> None:
        """Network and width for so many seconds, where a picture takes `pace` seconds of training at the usual ones."""
        picture_plan.choose_size_in(self.plan, self.about, seconds, pace, self._cost)

    def reduce_size_in(self, seconds: float, pace: float) -> bool:
        """Whether a narrower network was taken, as the one chosen takes more seconds a picture than it was expected to."""
        return picture_plan.reduce_size_in(self.plan, self.about, seconds, pace)

    def _cost(self, name: str, width: int) -> float:
        with torch.device("meta"):
            return find("models", name)(self.shape, len(self.pictures.classes), width).multiplications

    def choose_augmentation(self, epochs: float) -> None:
        """How training pictures are changed in a run of so many epochs."""
        self.augment()  # refuses what is out of range before anything is measured
        picture_plan.choose_augmentation(self.plan, self.about, epochs)
        picture_plan.choose_decay(self.plan, self.about, epochs)
        if "mirror" not in self.plan:
            self.plan.choose("mirror", *self._mirror(epochs), "measured")
        picture_plan.choose_views(self.plan, epochs)

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

    def _network(self) -> Any:
        name = self.plan["model"]
        return find("models", name)(self.shape, len(self.pictures.classes), **self.plan.options(name))

    def work(self) -> float:
        """Floating-point operations of one training step, about: forward, and twice that backward."""
        with torch.device("meta"):
            return 6.0 * self._network().multiplications * batch_size(self.plan, self.n)

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
        model = self._network()
        calibrate(model, self.data("train"))
        return model.to(memory_format=torch.channels_last)

    def data(self, split: str) -> PictureData:
        """Pictures of one split; only those of training are augmented."""
        once = self.plan.get("batches", "shuffle") in ("shuffle", "full", "single")
        return PictureData(self.pictures, self.pictures.split[split], self.augment() if split == "train" else None, once)

    def held(self, split: str) -> PictureData | None:
        """Pictures of valid or test; None where there are none."""
        return self.data(split) if len(self.pictures.split[split]) else None

    def augment(self) -> Augment:
        """How training pictures are changed, as far as it is chosen. Raises InputTrouble for a dial out of range."""
        augment = augment_of({name: choice.value for name, choice in self.plan.items()}, self.shape[:2])
        return replace(augment, size=small(self.shape[:2])) if self.plan.get("progressive") else augment

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
        """Accuracy, and the mean cross-entropy without smoothing, with the standard error of that mean; where classes are uneven
        also the means over classes.
        """
        logp, labels = self.outputs(model, data)
        self.scored = (data, logp, labels)
        accuracy = (logp.argmax(1) == labels).double().mean().item()
        losses = F.nll_loss(logp, labels, reduction="none").double()
        error = losses.std(correction=0).item() / max(len(losses), 1) ** 0.5
        every = {"accuracy": accuracy, "loss": losses.mean().item(), "loss_error": error}
        if self.uneven and len(labels):
            each = by_class(logp.argmax(1), labels, logp.shape[1])
            every |= {"balanced_accuracy": each.balanced, "macro_f1": each.macro}
        return Score("accuracy", True, accuracy, every)

    def outputs(self, model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
        """Log-probabilities (n, classes) and labels (n,) of all of the data; the model is in evaluation mode already."""
        n, size, views = len(data), max(PART // math.prod(self.shape), 1), self.views
        size = 500 if size >= 500 else min(size, batch_size(self.plan, self.n))
        # made before the first part: what outlives a part would keep the memory of those before it from being used again
        logp, labels = torch.empty(n, len(self.pictures.classes)), torch.empty(n, dtype=torch.int64)
        for a in range(0, n, size):
            batch = data(torch.arange(a, min(a + size, n)), -1)
            logp[a : a + size] = log_probabilities(model, batch.x, *views)
            labels[a : a + size] = batch.y
        return logp, labels

    @property
    def views(self) -> tuple[bool, int]:
        """What is looked at beside a picture when it is scored: whether its mirror image, and moved by how many pixels."""
        return bool(self.plan.get("mirror_score", False)), int(self.plan.get("shift_score", 0))

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

    def seconds_after(self) -> float:
        """What looking for copies and labels in doubt takes, about."""
        from gradlearn.seen import seconds_of_lint

        return seconds_of_lint(self)

    def show(self, descent: Descent, record: Record) -> None:
        """Write what the report shows of the trained model beside curves."""
        from gradlearn.seen import write_pictures

        write_pictures(self, descent, record)

    def card(self) -> dict[str, Any]:
        """What `predict` and `load` need beside the weights."""
        name = self.plan["model"]
        return {
            "task": "images",
            "model": name,
            "options": self.plan.options(name),
            "shape": list(self.shape),
            "classes": list(self.pictures.classes),
            "mirror_score": self.views[0],
            "shift_score": self.views[1],
        }

    @staticmethod
    def rebuild(card: Mapping[str, Any]) -> nn.Module:
        """The empty network that a card describes."""
        model = find("models", card["model"])(tuple(card["shape"]), len(card["classes"]), **card["options"])
        return model.to(memory_format=torch.channels_last)
