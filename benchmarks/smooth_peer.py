"""SciPy's L-BFGS-B on the More-Garbow-Hillstrom set: run in `.peers/optimise`, the function is evaluated by minimize_smooth.py.

Reads one start a line, asks for values and gradients through its standard output, and is told them on its standard input: the very
same function and gradient that gradlearn sees, so that evaluations can be compared one by one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from scipy.optimize import minimize


class Enough(Exception):
    """The other side has seen enough of this problem."""


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)

        def f(x: Any) -> tuple[float, Any]:
            print(json.dumps({"x": x.tolist()}), flush=True)
            answer = json.loads(sys.stdin.readline())
            if "enough" in answer:
                raise Enough
            return answer["f"], np.array(answer["g"])

        options = {"maxcor": job["maxcor"], "ftol": 0.0, "gtol": 1e-12, "maxfun": 10**5, "maxiter": 10**5, "maxls": 50}
        try:
            minimize(f, np.array(job["start"]), jac=True, method="L-BFGS-B", options=options)
            print(json.dumps({"done": True}), flush=True)
        except Enough:
            pass


if __name__ == "__main__":
    main()
