"""gradlearn: learning by gradient descent, with nothing tuned by hand, and an honest account of it.

    theta  <-  theta  -  eta * u(g),        g ~ grad L_B(theta)

    run = gradlearn.fit(model, (x, y), loss="cross_entropy")      train any nn.Module
    runs = gradlearn.fit_many(make, (x, y), runs=64)              many small ones as one: seeds, rates
    for step in gradlearn.train(model, (x, y)): ...               the loop itself
    gradlearn.load("runs/images-001").predict(x)                  a trained model back
    gradlearn.export(model, "model.onnx", x)                      any module as an ONNX file, compared with it
    gradlearn.probe(model, (x, y)).explain()                      which learning rates are too low, good, too high
    gradlearn.twins(model, (x, y)).page("twins.html")             the same training five ways, side by side
    pilot = gradlearn.Pilot(model, optimizer)                     the watch and the remedies in a loop of your own
    gradlearn.minimize(f, start)                                  a minimum of any function

Nothing is imported before it is used: `import gradlearn` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gradlearn.band import probe as probe
    from gradlearn.connect.pilot import Pilot as Pilot
    from gradlearn.contrast import twins as twins
    from gradlearn.descend import minimize as minimize
    from gradlearn.errors import Trouble as Trouble
    from gradlearn.exports import export as export
    from gradlearn.learn import Run as Run
    from gradlearn.learn import fit as fit
    from gradlearn.learn import load as load
    from gradlearn.learn import train as train
    from gradlearn.many import fit_many as fit_many
    from gradlearn.minimum.result import Result as Result

_PLACES = {
    "fit": "learn",
    "fit_many": "many",
    "train": "learn",
    "load": "learn",
    "export": "exports",
    "minimize": "descend",
    "Pilot": "connect.pilot",
    "probe": "band",
    "twins": "contrast",
    "Result": "minimum.result",
    "Run": "learn",
    "Trouble": "errors",
}

__all__ = [
    "fit",
    "fit_many",
    "train",
    "load",
    "export",
    "probe",
    "twins",
    "minimize",
    "Pilot",
    "Run",
    "Result",
    "Trouble",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'gradlearn' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gradlearn.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
