"""scikit-learn's handwritten digits, 1,797 grey pictures 8x8, ten classes: what is learned where no data is given.

Optical recognition of handwritten digits, E. Alpaydin and C. Kaynak, UCI 1998. Read from the installed package's own
file; scikit-learn itself is never imported.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from gradlearn.data.name import Rows
from gradlearn.data.source import Found, Part
from gradlearn.errors import InputTrouble


def read_digits() -> Found:
    """The digits, undivided; raises InputTrouble where scikit-learn is not installed."""
    spec = importlib.util.find_spec("sklearn")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise InputTrouble("digits: the default pictures come with scikit-learn; pip install 'gradlearn[images]' or give a PATH")
    with gzip.open(path, "rt", encoding="ascii") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint16)
    pixels = ((rows[:, :64] * 255 + 8) // 16).astype(np.uint8).reshape(-1, 8, 8, 1)  # 0..16 to 0..255
    labels = rows[:, 64].astype(np.int64)
    part = Part("digits", Rows("digits", len(labels)), labels, lambda: iter([pixels]), (8, 8, 1))
    return Found("digits", "scikit-learn digits", tuple("0123456789"), False, {"train": part})
