"""What `Twins.document()` gives, made up: five trainings that did what their names promise."""

from __future__ import annotations

from typing import Any


def score(t: int, accuracy: float, loss: float, split: str = "valid") -> dict[str, Any]:
    both = {"accuracy": accuracy, "loss": loss}
    return {"t": t, "split": split, "name": "accuracy", "higher": True, "value": accuracy, "all": both}


def twin(name: str, loss: list[float], scores: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    made = {
        "name": name,
        "lr": 0.01,
        "examples": 900,
        "held": {"adamw.weight_decay": 0.05},
        "loss": loss,
        "lrs": [0.01] * len(loss),
    }
    made |= {
        "scores": scores,
        "fit": score(len(loss), 1.0, 0.001, "train"),
        "findings": [],
        "stop": {"reason": "done", "message": "m"},
    }
    return made | {"seconds": 1.0} | other


FINDING = {
    "t": 7,
    "name": "diverged",
    "level": "alarm",
    "what": "the loss is 9, <b>after</b> 2",
    "why": "",
    "remedy": "",
    "evidence": {},
}


def fall(start: float, end: float, n: int = 60) -> list[float]:
    return [end + (start - end) * 0.9**t for t in range(n)]


def document() -> dict[str, Any]:
    few: dict[str, Any] = {"examples": 40}
    return {
        "task": "images",
        "steps": 60,
        "update": "adamw",
        "judged": 100,
        "seconds": 5.0,
        "twins": [
            twin("chosen", fall(2.3, 0.1), [score(30, 0.9, 0.4), score(60, 0.95, 0.2)]),
            twin("too high", [2.3, 9.0, 7.0] + [2.6] * 57, [score(60, 0.1, 2.4)], lr=0.3, findings=[FINDING, FINDING]),
            twin("too low", fall(2.3, 2.0), [score(60, 0.4, 2.0)], lr=0.0003),
            twin("by heart", fall(2.3, 0.0), [score(30, 0.8, 0.6), score(60, 0.78, 1.2)], held={}, **few),
            twin("held back", fall(2.3, 0.5), [score(60, 0.95, 0.5)], **few),
        ],
    }
