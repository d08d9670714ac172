"""What a trained classifier of pictures gets wrong, as files for the report: confusion, worst mistakes, data lint.

pictures/confusion.json, pictures/mistakes.json with one PNG each, pictures/lint.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradlearn.data.stored import take
from gradlearn.loop import Descent
from gradlearn.record.record import Record
from gradlearn.tasks.images import Images

MOST = 24  # mistakes shown


def write_pictures(task: Images, d: Descent, record: Record) -> None:
    """Write all of it from the test pictures, else the validation pictures; the lint alone where there are neither.

    The model is in evaluation mode.
    """
    record.write_json("pictures/lint.json", task.lint())
    split, data = ("test", d.test) if d.test is not None and len(d.test) else ("valid", d.valid)
    if data is None:
        return
    scored = task.scored if task.scored is not None and task.scored[0] is data else None
    logp, labels = scored[1:] if scored else task.outputs(d.theta.model, data)
    guess = logp.argmax(1)
    names = list(task.pictures.classes)
    matrix = torch.zeros(len(names), len(names), dtype=torch.int64)
    matrix.index_put_((labels, guess), torch.ones_like(labels), accumulate=True)
    record.write_json("pictures/confusion.json", {"classes": names, "matrix": matrix.tolist()})
    wrong = torch.nonzero(guess != labels).flatten()
    worst = wrong[logp[wrong, labels[wrong]].argsort()][:MOST].tolist()
    rows = task.pictures.split[split]
    mistakes = [
        _mistake(task, record.folder, k, int(rows[i]), names[labels[i]], names[guess[i]], float(logp[i].max().exp()))
        for k, i in enumerate(worst)
    ]
    record.write_json("pictures/mistakes.json", mistakes)


def _mistake(task: Images, folder: Path, k: int, row: int, truth: str, guess: str, p: float) -> dict[str, Any]:
    from PIL import Image

    pixels = take(task.pictures.pixels, np.array([row]))[0]
    name = f"mistake-{k:02d}.png"
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(folder / "pictures" / name)
    return {"file": name, "truth": truth, "guess": guess, "p": round(p, 4), "source": task.pictures.files[row]}
