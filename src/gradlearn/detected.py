"""What a detector sees in pictures: its answers become a few boxes with classes and scores.

    raw answers -> decode -> the best pairs of place and class, with a score of at least `floor` -> cut to the picture -> nms

A place may see several classes at once, each has a score of its own. For scoring, `floor` is low and everything counts by its rank;
to show somebody what is there, the one that the run chose on its validation pictures. `Answers` and `interface` are for exports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradlearn.boxes import nms
from gradlearn.models.detector import decode, places

if TYPE_CHECKING:
    from gradlearn.data.canvas import Canvases
    from gradlearn.detection_errors import Found
    from gradlearn.models.detector import Detector

__all__ = ["Answers", "Detected", "detect", "gathered", "interface", "picked"]

CANDIDATES = 600
MOST = 300  # boxes in a picture
FLOOR = 0.01  # score
TOLD = 0.3  # score of a box that somebody is told of, where nothing better is known
CLOSE = 0.6  # iou from which two boxes of a class are one


class Detected(NamedTuple):
    """Boxes found in one picture, best first."""

    boxes: Tensor  # (k, 4) x1, y1, x2, y2 in pixels of the canvas
    scores: Tensor  # (k,) in [0, 1]
    labels: Tensor  # (k,) int64


def detect(model: Detector, pixels: Tensor, extents: Tensor, floor: float = FLOOR) -> list[Detected]:
    """What the model, in evaluation mode, sees in pictures (n, c, h, w) of which (n, 2) h, w are picture and the rest is canvas."""
    with torch.no_grad():
        answers = model(pixels)
        scores, boxes = decode(answers, places(answers, model.strides))
        return [picked(s, b, e, floor) for s, b, e in zip(scores.sigmoid(), boxes, extents, strict=True)]


def picked(scores: Tensor, boxes: Tensor, extent: Tensor, floor: float = FLOOR) -> Detected:
    """Of one picture's scores (a, classes) in [0, 1] and boxes (a, 4), those worth telling."""
    classes = scores.shape[1]
    best, at = scores.flatten().topk(min(CANDIDATES, scores.numel()))
    at = at[best >= floor]
    found, labels = boxes[at // classes], at % classes
    ends = extent.flip(0).repeat(2).to(found)  # w, h, w, h
    found = torch.minimum(found.clamp_min(0.0), ends)
    kept = nms(found, best[: len(at)], labels, CLOSE, MOST)
    return Detected(found[kept], best[kept], labels[kept])


def gathered(found: Sequence[Detected], canvases: Canvases, pictures: np.ndarray) -> Found:
    """What was found in these pictures (n,), one after the other, in pixels of their files."""
    from gradlearn.detection_errors import Found

    counts = [len(one.boxes) for one in found]
    parts = [torch.cat([one[k] for one in found]).numpy() if found else np.zeros((0, 4) if k == 0 else 0) for k in range(3)]
    boxes = canvases.back(parts[0], np.repeat(pictures, counts))
    return Found(boxes, parts[2].astype(np.int64), parts[1], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


class Answers(nn.Module):
    """Canvases (n, c, h, w), bytes 0..255 -> boxes (n, a, 4) x1, y1, x2, y2 in pixels, scores (n, a, classes) in [0, 1].

    One box from each of a places; many show the same thing: keep the best of those that overlap.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(boxes, scores)."""
        answers = self.network(x)
        strides = self.network.strides
        scores, boxes = decode(answers, places(answers, strides))  # pyright: ignore[reportArgumentType]
        return boxes, scores.sigmoid()


def interface(card: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a model of this card and what comes out, for who uses it without gradlearn."""
    from gradlearn.data.canvas_steps import picker, reader, steps

    (h, w, c), classes = card["shape"], list(card["classes"])
    plain = {k: "float32" if k == "precision" else v for k, v in card["options"].items()}  # half precision was this machine's
    threshold = float(card.get("threshold", TOLD))
    code = reader(card["shape"]) + picker(threshold, CLOSE)
    return {
        "task": "detect",
        "classes": classes,
        "threshold": threshold,
        "input": {"name": "pictures", "type": "uint8", "shape": ["n", c, h, w], "range": [0, 255]},
        "preprocessing": steps(card["shape"]),
        "outputs": {
            "boxes": "(n, places, 4), x1, y1, x2, y2 in pixels of the canvas, one from each place",
            "scores": f"(n, places, {len(classes)}), in [0, 1], of each class in order",
        },
        "postprocessing": [
            {"step": "threshold", "what": f"pairs of place and class with a score of at least {threshold:g}", "score": threshold},
            {"step": "suppress", "what": f"of boxes of one class that overlap by an IoU above {CLOSE:g} the best", "iou": CLOSE},
            {
                "step": "back",
                "what": "x and y divided by the scale of the picture on its canvas, plus what was cut off at that side",
            },
        ],
        "limits": [
            "what is not of these classes is not found, and what looks like one of them may be",
            "a score says how well a box fits, not how often such a box is right",
            f"pictures are seen on canvases of {h} x {w}: what is smaller than a few pixels there is not found",
        ],
        "network": {"arguments": [tuple(card["shape"]), len(classes)], "options": plain},
        "answers": {},
        "use": {"onnx": ONNX.replace("READER", code), "torch": TORCH.replace("READER", code)},
    }


ONNX = """import json

import onnxruntime
READER

session = onnxruntime.InferenceSession(FILE)
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
x, back = canvas("picture.png")
boxes, scores = session.run(["boxes", "scores"], {"pictures": x})
for label, score, box in picked(boxes[0], scores[0], back):
    print(classes[label], round(score, 3), box.round(1))"""

TORCH = """import torch
READER
from model import load

network = load()
x, back = canvas("picture.png")
with torch.no_grad():
    boxes, scores = network(torch.from_numpy(x))
for label, score, box in picked(boxes[0].numpy(), scores[0].numpy(), back):
    print(network.card["classes"][label], round(score, 3), box.round(1))"""
