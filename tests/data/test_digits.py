"""The built-in digits: scikit-learn's, read without it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gradlearn.data.digits import read_digits
from gradlearn.errors import InputTrouble


def test_they_are_scikit_learns():
    oracle = load_digits()
    part = read_digits().parts["train"]
    (pixels,) = part.chunks()
    assert pixels.shape == (1797, 8, 8, 1)
    assert pixels.dtype == np.uint8
    assert (pixels[..., 0] == np.round(oracle.images * 255 / 16)).all()
    assert (part.labels == oracle.target).all()


def test_scikit_learn_is_not_imported():
    code = "import sys; from gradlearn.data.digits import read_digits; read_digits(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"'sklearn'", "'torch'", "'PIL'", "'pyarrow'"} & set(loaded.replace("]", ",").split(", "))


def test_without_it_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputTrouble, match=r"pip install 'gradlearn\[images\]'"):
        read_digits()
