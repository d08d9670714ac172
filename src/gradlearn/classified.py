"""What a trained classifier of pictures answers: log-probabilities, and how it is used by those who have no gradlearn.

    p = mean over views v of softmax(model(v(x))):   the picture as it is; its mirror image; all of them a pixel or so to both sides

For `predict` and the scores of a run; `Answers` and `interface` for exports (`exports.py`), which copy the former's text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def log_probabilities(model: nn.Module, x: Tensor, mirror: bool, shift: int = 0) -> Tensor:
    """(n, classes): log of the probabilities, averaged over the picture and what `Answers.views` makes of it."""
    logp = [F.log_softmax(model(view), 1) for view in Answers.views(x, mirror, shift)]
    return torch.logsumexp(torch.stack(logp), 0) - math.log(len(logp)) if len(logp) > 1 else logp[0]


class Answers(nn.Module):
    """Pictures (n, c, h, w), bytes 0..255 -> (probabilities, logits), (n, classes) each.

    Probabilities are the mean over the picture's views; logits are always those of the picture as it is. `mirror`: its mirror image
    is a view too; `shift`: and each of them moved by so many pixels, up and to the left, down and to the right.
    """

    def __init__(self, network: nn.Module, mirror: bool, shift: int = 0) -> None:
        super().__init__()
        self.network, self.mirror, self.shift = network, mirror, shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(probabilities, logits)."""
        logits = [self.network(view) for view in self.views(x, self.mirror, self.shift)]
        return torch.stack([answer.softmax(1) for answer in logits]).mean(0), logits[0]

    @staticmethod
    def views(x: Tensor, mirror: bool, shift: int) -> list[Tensor]:
        """The pictures as they are, then as they are looked at beside; what a move uncovers is filled by reflection at the edge."""
        found = [x]
        for by in (shift, -shift) if shift else ():
            moved = x
            for axis in (2, 3):
                last = x.shape[axis] - 1
                at = (torch.arange(last + 1, device=x.device) + by).abs()
                moved = moved.index_select(axis, last - (last - at).abs())
            found.append(moved)
        found += [view.flip(3) for view in found] if mirror else []
        return [x, *(view.contiguous(memory_format=torch.channels_last) for view in found[1:])]


def interface(card: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a model of this card and what comes out, for who uses it without gradlearn."""
    from gradlearn.data.steps import reader, steps

    (h, w, c), mirror, shift = card["shape"], bool(card["mirror_score"]), int(card.get("shift_score", 0))
    views = ["its mirror image"] * mirror + [f"all of them moved by {shift} to either side"] * bool(shift)
    images = f", the mean over the picture and {' and '.join(views)}" if views else ""
    plain = {k: "float32" if k == "precision" else v for k, v in card["options"].items()}  # half precision was this machine's
    return {
        "task": "images",
        "classes": list(card["classes"]),
        "input": {"name": "pictures", "type": "uint8", "shape": ["n", c, h, w], "range": [0, 255]},
        "preprocessing": steps(card["shape"]),
        "outputs": {
            "probabilities": f"(n, {len(card['classes'])}), of each class in order{images}",
            "logits": f"(n, {len(card['classes'])}), of the picture as it is, before the softmax",
        },
        "postprocessing": [{"step": "answer", "what": "the class with the largest probability"}],
        "limits": [
            "every picture is given one of these classes, also one that shows none of them",
            "a probability is what the network says, not a frequency; on pictures unlike those it learned from it means little",
            f"pictures are seen at {h} x {w}: what is smaller than a pixel there cannot be told apart",
        ],
        "network": {"arguments": [tuple(card["shape"]), len(card["classes"])], "options": plain},
        "answers": {"mirror": mirror, "shift": shift},
        "use": {"onnx": ONNX.replace("READER", reader(card["shape"])), "torch": TORCH.replace("READER", reader(card["shape"]))},
    }


ONNX = """import json

import onnxruntime
READER

session = onnxruntime.InferenceSession(FILE)
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
p = session.run(["probabilities"], {"pictures": pixels("picture.png")})[0][0]
print(classes[p.argmax()], p.max())"""

TORCH = """import torch
READER
from model import load

network = load()
with torch.no_grad():
    p, logits = network(torch.from_numpy(pixels("picture.png")))
print(network.card["classes"][int(p[0].argmax())], float(p.max()))"""
