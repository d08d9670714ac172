"""Curvature: the door to what is known of a function beyond its gradient, for plug-ins and everybody else.

    Hessian(f, x)(v) = H v      certify(f, x) -> minimum, saddle, plateau, not converged or unbounded

Products with all fall-backs are in `derivatives.py`, both ends of the spectrum in `lanczos.py`, the verdict in `certificate.py`,
values around a point in `surroundings.py`, what a place is like in `point.py`, the loss of a batch as a function of theta in
`landscape.py`, the gradient of each example in `example_grads.py`.
"""

from __future__ import annotations

from gradlearn.curvature.certificate import VERDICTS, Certificate, certify
from gradlearn.curvature.derivatives import Hessian, slope, value_and_grad
from gradlearn.curvature.example_grads import ExampleGrads
from gradlearn.curvature.lanczos import Ritz, lanczos
from gradlearn.curvature.landscape import (
    Landscape,
    LossFunction,
    depending,
    directions,
    function_of,
    leave,
    mean_of,
    reverse,
    still,
    told,
)
from gradlearn.curvature.point import around, downhill

__all__ = [
    "around",
    "downhill",
    "certify",
    "Certificate",
    "VERDICTS",
    "Hessian",
    "slope",
    "value_and_grad",
    "lanczos",
    "Ritz",
    "Landscape",
    "LossFunction",
    "function_of",
    "depending",
    "directions",
    "leave",
    "mean_of",
    "reverse",
    "still",
    "told",
    "ExampleGrads",
]
