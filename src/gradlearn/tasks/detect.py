"""Detection: what is in a picture, and where?

    losses = detection_losses(decode(model(pixels)), true boxes),       score = mAP: average precision over overlaps of 0.5 to 0.95

Pascal VOC, COCO or YOLO data; a detector of one stage, trained from scratch. Pictures lie decoded in memory at the size that is
trained on, and are put together anew in every pass (`data/mosaic.py`). For a few hundred pictures of few kinds of things, and
minutes to hours of a processor; for everyday photographs of many kinds of things a pretrained network is the better start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.boxes import HARD
from gradlearn.data.arranged import Arranged
from gradlearn.data.canvas import Canvases, canvas_shape, lay
from gradlearn.data.mosaic import Labelled, Varied
from gradlearn.data.things import flip_ratios
from gradlearn.detected import TOLD, Answers, detect, gathered, interface
from gradlearn.detection import detection_losses
from gradlearn.errors import InputTrouble
from gradlearn.find import find
from gradlearn.models.detector import Detector, decode, places
from gradlearn.plan import Plan, batch_size, usual_epochs
from gradlearn.precision import precision
from gradlearn.symbols import Batch, Data, Losses, Now, Score

if TYPE_CHECKING:
    from gradlearn.data.boxes.boxed import Boxed
    from gradlearn.detection_errors import Found
    from gradlearn.detection_score import Score as BoxScore
    from gradlearn.loop import Descent
    from gradlearn.record.record import Record
    from gradlearn.start import Start

__all__ = ["Detect", "Answers", "interface"]

WIDTHS = (16, 24, 32, 48, 64)
SIZES = (320, 1280)  # pixels of the longer side, where none is asked for
LEAST = 32  # pixels of the longer side, asked for
SMALL = 24.0  # pixels that a box of the smallest class should have on a side
CELLS = (2.0, 6.0)  # strides that boxes on the finest and on the coarsest level should have on a side
PART = 16  # pictures scored at once
SAME = 0.5  # share of what is known of boxes that is known of their flips, from which these are trained on
LOOKED_AT = 1000  # pictures, for that


class Judged(NamedTuple):
    """What was found in some pictures, and how good that is."""

    data: Data
    pictures: np.ndarray  # (n,) int64
    found: Found
    score: BoxScore


class Detect:
    """Detection of objects in pictures.

    Args:
        boxed: what `data.boxes.read` returned.
        canvases: its pictures.
        plan: the choices of the run; `choose` fills in what is open.
    """

    name = "detect"
    reads = ("valid", "test", "size", "skip_bad", "max_pixels", "memory", "clip_boxes", "images", "follow_links_to")
    usual: Mapping[str, Any] = {"detector.width": 32}  # to measure with

    def __init__(self, boxed: Boxed, canvases: Canvases, plan: Plan) -> None:
        self.boxed, self.plan, self.canvases = boxed, plan, canvases
        self.picture = np.repeat(np.arange(len(boxed)), np.diff(boxed.first))
        self.on_canvas = canvases.onto(boxed.boxes, self.picture)
        labels = np.where(boxed.hard, HARD - boxed.labels, boxed.labels).astype(np.int64)
        self.labelled = Labelled(canvases, self.on_canvas, labels, boxed.first)
        self.shape = (*(int(k) for k in canvases.pixels.shape[2:]), 3)
        self.n, self.nbytes = len(boxed.split["train"]), canvases.pixels.nbytes
        self.notes, self.fingerprint = boxed.notes, boxed.fingerprint
        self.judged: Judged | None = None  # the last
        self.threshold = TOLD  # score from which a box is told, once it is known
        self.start: Start | None = None  # weights that a new network begins with

    @classmethod
    def read(
        cls, path: Path | None, plan: Plan, *, size: int | None = None, memory: int | None = None, cache: Any = None, **reading: Any
    ) -> Detect:
        """Read boxes and pictures; `memory` and `cache` as for `lay`; `reading` goes to `data.boxes.read`."""
        from gradlearn.data.boxes.read import read

        if path is None:
            raise InputTrouble("detect: no data; give a folder with boxes: Pascal VOC, COCO or YOLO")
        boxed = read(path, seed=plan.get("seed", 0), **reading)
        if size is not None:
            if size < LEAST:
                raise InputTrouble(f"--size {size}: must be at least {LEAST}; things in smaller pictures are not found")
            plan.choose("size", size, "as asked", "user")
        plan.choose("size", *size_for(boxed), "data")
        shape = canvas_shape(boxed.sizes, plan["size"])
        paths = [boxed.path(i) for i in range(len(boxed))]
        return cls(boxed, lay(paths, shape, memory=memory, cache=cache), plan)

    def found(self) -> str:
        """What the data are."""
        return f"{self.boxed.summary}; brought to {self.shape[0]} x {self.shape[1]}"

    def choose(self) -> None:
        """Model, loss and update: what does not depend on the length of the run."""
        plan = self.plan
        if plan.choose("model", "detector", "boxes: a detector") != "detector":
            raise InputTrouble(f"--model {plan['model']}: no network for boxes; use detector")
        plan.choose("detector.strides", *self._strides(), "data")
        plan.choose("detector.precision", *precision(plan["device"]), "measured")
        size = 8 if self.n < 5000 else 16
        plan.choose("batch", size, f"{self.n} training pictures; larger batches are no faster on a processor")
        if plan.choose("update", "split", "Muon for convolutions: more is learned in a step; AdamW for the rest") == "split":
            plan.choose("muon.weight_decay", 0.1, "augmentation holds most of it")
        if plan["update"] in ("split", "adamw"):
            plan.choose("adamw.betas", [0.9, 0.98], "a memory of 50 steps for the squares: runs are short")
            plan.choose("adamw.weight_decay", 0.05, "augmentation holds most of it")
        plan.choose("rate", ["warmup", "linear"], "the length is known: a straight line to zero is optimal for the last iterate")
        if "warmup" in plan["rate"]:
            plan.choose("warmup.share", 0.05, "which places answer for which box is not settled at first")

    def _strides(self) -> tuple[list[int], str]:
        """Levels for boxes of these sizes: the smallest are to have two strides, the largest six at most."""
        rows = self.boxed.rows(self.boxed.split["train"])
        boxes = self.on_canvas[rows[~self.boxed.hard[rows]]]
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)) if len(boxes) else np.array([64.0])
        small, large = np.quantile(sides, [0.05, 0.95])
        finest = min(max(2 ** math.floor(math.log2(max(small / CELLS[0], 1.0))), 8), 16)
        coarsest = min(max(2 ** math.ceil(math.log2(max(large / CELLS[1], 1.0))), 32), 64)
        strides = [s for s in (8, 16, 32, 64) if finest <= s <= coarsest]
        return strides, f"nine in ten boxes are {small:.0f} to {large:.0f} pixels a side"

    @property
    def targets(self) -> float:
        """Numbers to be told, of all boxes of the training pictures, to a parameter of the model."""
        boxes = (~self.boxed.hard[self.boxed.rows(self.boxed.split["train"])]).sum()
        network = self._network(self.plan.get("detector.width", 32))
        return 5.0 * float(boxes) / sum(p.numel() for p in network.parameters())

    def choose_size(self) -> None:
        """Width of the network where the time is open."""
        self.plan.choose("detector.width", 32, "the usual one")

    def choose_size_in(self, seconds: float, pace: float) -> None:
        """Width of the network for so many seconds, where a picture takes `pace` seconds of training at width 32."""
        usual = self._network(32).multiplications
        seen = {w: seconds / pace * usual / self._network(w).multiplications for w in WIDTHS}
        wanted = {16: 0.0, 24: 4e3, 32: 1e4, 48: 6e4, 64: 2e5}
        width = max(w for w in WIDTHS if seen[w] >= max(wanted[w], 10.0 * self.n) or w == WIDTHS[0])
        why = f"the largest that sees enough: {seen[width]:,.0f} pictures, each of {self.n} {seen[width] / self.n:.1f} times"
        self.plan.choose("detector.width", width, why, "measured")

    def reduce_size_in(self, seconds: float, pace: float) -> bool:
        """No: a wider network is expected to take longer in proportion to its arithmetic, and takes less than that."""
        return False

    def choose_augmentation(self, epochs: float) -> None:
        """Which flips the boxes allow; the rate, now that the length of the run is known."""
        plan, rows = self.plan, self.boxed.split["train"]
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64)]
        ratios = flip_ratios(self.labelled, rows, len(self.boxed.classes), plan.get("seed", 0))
        for name, ratio, usual in (("mirror", ratios[0], True), ("upend", ratios[1], False)):
            if ratio is None:
                plan.choose(name, usual, "a linear classifier could not tell; left and right seldom matter, up and down do", "data")
            else:
                told = f"a linear classifier keeps {ratio:.0%} of what it knows of the boxes when they are flipped"
                plan.choose(name, ratio >= SAME, told, "measured")
        if plan["update"] in ("split", "adamw"):
            steps = plan.get("steps", max(epochs * self.n / batch_size(plan, self.n), 1.0))
            why = f"0.3 / sqrt({steps:.0f} steps), at most 0.02; a picture has many boxes: few pictures are not few examples"
            plan.choose("lr", round(min(0.02, 0.3 / math.sqrt(steps)), 6), why)

    def _network(self, width: int) -> Detector:
        options = {"width": width, "strides": self.plan["detector.strides"]}
        with torch.device("meta"):
            return find("models", "detector")(self.shape, len(self.boxed.classes), **options)

    def work(self) -> float:
        """Floating-point operations of one training step, about: forward, and twice that backward."""
        return 6.0 * self._network(self.plan.get("detector.width", 32)).multiplications * batch_size(self.plan, self.n)

    def suggested_epochs(self, n: int) -> int:
        """Epochs for a run of no given length."""
        return usual_epochs(self.plan, n, steps=2000, most=100, least=10)

    def again(self, plan: Plan, rows: Tensor | None = None) -> Detect:
        """The same data under another plan, of the training pictures only these."""
        boxed = self.boxed
        if rows is not None:
            train = boxed.split["train"][rows.numpy()]
            boxed = replace(boxed, split=boxed.split | {"train": train})
        other = Detect(boxed, self.canvases, plan)
        other.start = self.start
        return other

    def model(self, seed: int) -> nn.Module:
        """A new network; its input scale is measured on training pictures."""
        made = find("models", "detector")(self.shape, len(self.boxed.classes), **self.plan.options("detector"))
        rows = self.boxed.split["train"]
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 64)).astype(np.int64)]
        made.calibrate(self.canvases.take(rows))
        return made.to(memory_format=torch.channels_last)

    def data(self, split: str) -> Arranged:
        """Pictures of one split; only those of training are put together anew."""
        varied = Varied(mirror=bool(self.plan.get("mirror", True)), upend=bool(self.plan.get("upend", False)))
        return Arranged(self.labelled, self.boxed.split[split], varied if split == "train" else None)

    def held(self, split: str) -> Arranged | None:
        """Pictures of valid or test; None where there are none."""
        return self.data(split) if len(self.boxed.split[split]) else None

    def collect(self, model: nn.Module, now: Now) -> Data:
        """The same pictures in every round."""
        return self.data("train")

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        """Losses of each picture."""
        answers = model(batch.x)
        at = places(answers, cast(Detector, model).strides)
        return detection_losses(*decode(answers, at), at, batch.y)

    def score(self, model: nn.Module, data: Data) -> Score:
        """Average precision: over overlaps of 0.5 to 0.95, at 0.5, and that of each class at 0.5."""
        self.judged = self.judge(model, data)
        result = self.judged.score
        known = {"mAP": result.map, "mAP50": result.map50}
        known |= {f"AP50 {name}": float(ap) for name, ap in zip(self.boxed.classes, result.ap50, strict=True)}
        numbers = {name: value for name, value in known.items() if math.isfinite(value)}  # a class without boxes has none
        return Score("mAP", True, numbers.get("mAP", 0.0), numbers)

    def judge(self, model: nn.Module, data: Data, threshold: float | None = None) -> Judged:
        """What the model, in evaluation mode, finds in these pictures, and how good that is; `threshold` as for `score`."""
        from gradlearn.detection_score import score

        found, rows = [], []
        for a in range(0, len(data), PART):
            batch = data(torch.arange(a, min(a + PART, len(data))), -1)
            extents = torch.from_numpy(self.canvases.extents)[batch.index.cpu()]
            found += detect(cast(Detector, model), batch.x, extents)
            rows += batch.index.tolist()
        pictures = np.array(rows, np.int64)
        boxes = gathered(found, self.canvases, pictures)
        return Judged(data, pictures, boxes, score(self.boxed, pictures, boxes, threshold))

    def counted(self, judged: Judged, threshold: float | None) -> Judged:
        """The same boxes, of which those count that have this score."""
        from gradlearn.detection_score import score

        return judged._replace(score=score(self.boxed, judged.pictures, judged.found, threshold))

    def described(self) -> dict[str, Any]:
        """The [data] table of run.toml."""
        b = self.boxed
        about = {
            "source": b.source,
            "kind": b.kind,
            "fingerprint": b.fingerprint,
            "classes": list(b.classes),
            "shape": list(self.shape),
        }
        return about | {name: len(rows) for name, rows in b.split.items()}

    def seconds_after(self) -> float:
        """Nothing but scoring takes long, and of that no more than is counted already."""
        return 0.0

    def show(self, descent: Descent, record: Record) -> None:
        """Write what the report shows of the trained model beside curves."""
        from gradlearn.seen_boxes import write_boxes

        self.threshold = write_boxes(self, descent, record)

    def card(self) -> dict[str, Any]:
        """What `predict` and `load` need beside the weights."""
        return {
            "task": "detect",
            "model": "detector",
            "options": self.plan.options("detector"),
            "shape": list(self.shape),
            "size": self.plan["size"],
            "classes": list(self.boxed.classes),
            "threshold": round(self.threshold, 4),
        }

    @staticmethod
    def rebuild(card: Mapping[str, Any]) -> nn.Module:
        """The empty network that a card describes."""
        made = find("models", card["model"])(tuple(card["shape"]), len(card["classes"]), **card["options"])
        return made.to(memory_format=torch.channels_last)


def size_for(boxed: Boxed) -> tuple[int, str]:
    """(pixels of the longer side, why): boxes of the class whose boxes are smallest get SMALL pixels a side, within SIZES."""
    longer = boxed.sizes.max(1).astype(np.float64)
    picture = np.repeat(np.arange(len(boxed)), np.diff(boxed.first))
    share = np.sqrt((boxed.boxes[:, 2:] - boxed.boxes[:, :2]).astype(np.float64).prod(1)) / longer[picture]
    medians = [float(np.median(share[boxed.labels == k])) for k in range(len(boxed.classes)) if (boxed.labels == k).any()]
    if not medians:
        return SIZES[0], "no boxes"
    wanted = 32 * math.ceil(SMALL / min(medians) / 32)
    most = min(max(32 * math.ceil(float(np.median(longer)) / 32), SIZES[0]), SIZES[1])
    size = min(max(wanted, SIZES[0]), most)
    return size, f"boxes of the smallest class have {min(medians) * size:.0f} pixels a side, in the middle"
