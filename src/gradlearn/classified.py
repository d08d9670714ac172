"""What a trained classifier of pictures answers: log-probabilities, and how it is used by those who have no gradlearn.

    log p = log softmax(model(x)),   with `mirror`:  log of the mean of p over the picture and its mirror image

For `predict` and the scores of a run; `Answers` and `interface` for exports (`exports.py`), which copy the former's text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def log_probabilities(model: nn.Module, x: Tensor, mirror: bool) -> Tensor:
    """(n, classes): log of the probabilities, with `mirror` averaged over the picture and its mirror image."""
    logp = F.log_softmax(model(x), 1)
    if not mirror:
        return logp
    other = F.log_softmax(model(x.flip(3).contiguous(memory_format=torch.channels_last)), 1)
    return torch.logaddexp(logp, other) - math.log(2.0)


class Answers(nn.Module):
    """Pictures (n, c, h, w), bytes 0..255 -> (probabilities, logits), (n, classes) each.

    `mirror`: probabilities are the mean over a picture and its mirror image; logits are always those of the picture as it is.
    """

    def __init__(self, network: nn.Module, mirror: bool) -> None:
        super().__init__()
        self.network, self.mirror = network, mirror

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(probabilities, logits)."""
        logits = self.network(x)
        probabilities = logits.softmax(1)
        if self.mirror:
            probabilities = (probabilities + self.network(x.flip(3)).softmax(1)) / 2
        return probabilities, logits


def interface(card: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a model of this card and what comes out, for who uses it without gradlearn."""
    from gradlearn.data.steps import reader, steps

    (h, w, c), mirror = card["shape"], bool(card["mirror_score"])
    images = ", the mean over the picture and its mirror image" if mirror else ""
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
        "answers": {"mirror": mirror},
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
