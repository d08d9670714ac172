"""One peer on one problem, stopped at the budget or at success: run in `.peers/optimise` by minimize_global.py.

    python global_peers.py PEER SECONDS GOAL < jobs.jsonl > results.jsonl

Every program is given what it can use: exact gradients, rows (differential evolution, CMA-ES), the start, and restarts until the
time is over. The clock is the processor time of this process, which runs on one thread.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from contextlib import suppress
from typing import Any

import numpy as np

from global_functions import Problem, problem

clock = time.process_time


class Over(Exception):
    """Time is up, or the goal is reached."""


class Watched:
    """The function as a peer sees it: the best value and when it came; ends the run."""

    def __init__(self, p: Problem, seconds: float, goal: float) -> None:
        self.p, self.goal = p, goal
        self.best, self.x, self.evaluations, self.when = math.inf, p.start, 0, math.inf
        self.begun = clock()
        self.deadline = self.begun + seconds

    def seen(self, x: Any, value: float, count: int = 1) -> None:
        """One more value."""
        self.evaluations += count
        now = clock()
        if value < self.best and now <= self.deadline:
            self.best, self.x = value, np.array(x)
            if value <= self.goal:
                self.when = now - self.begun
                raise Over
        if now > self.deadline:
            raise Over

    def value(self, x: Any) -> float:
        """f of one point."""
        v = float(self.p.value(x))
        self.seen(x, v)
        return v

    def value_and_gradient(self, x: Any) -> tuple[float, Any]:
        """f and gradient of one point."""
        v, g = self.p.value_and_gradient(x)
        self.seen(x, float(v))
        return float(v), g

    def gradient(self, x: Any) -> Any:
        """The gradient alone."""
        return self.p.value_and_gradient(x)[1]

    def rows(self, x: Any) -> Any:
        """f of rows (k, n)."""
        v = self.p.value(np.asarray(x))
        i = int(v.argmin())
        self.seen(x[i], float(v[i]), len(v))
        return v


def dual_annealing(w: Watched, seed: int) -> None:
    """SciPy, with its local search by L-BFGS-B with exact gradients."""
    from scipy.optimize import dual_annealing as run

    box = [(-w.p.side, w.p.side)] * w.p.n
    x0 = w.p.start
    for round in range(10**6):
        local = {"method": "L-BFGS-B", "jac": w.gradient, "bounds": box}
        run(w.value, box, x0=x0, rng=seed + 1000 * round, maxiter=10**6, maxfun=10**9, minimizer_kwargs=local)


def dual_annealing_plain(w: Watched, seed: int) -> None:
    """SciPy, everything at its default."""
    from scipy.optimize import dual_annealing as run

    run(w.value, [(-w.p.side, w.p.side)] * w.p.n, x0=w.p.start, rng=seed, maxiter=10**6, maxfun=10**9)


def differential_evolution(w: Watched, seed: int) -> None:
    """SciPy, a whole population in one call; where it has converged, L-BFGS-B with exact gradients, then a new one."""
    from scipy.optimize import differential_evolution as run
    from scipy.optimize import minimize

    box = [(-w.p.side, w.p.side)] * w.p.n
    common = {"maxiter": 10**6, "popsize": 8, "tol": 1e-9, "vectorized": True, "updating": "deferred", "polish": False}
    for round in range(10**6):
        x0 = w.p.start if round == 0 else None
        end = run(lambda x: w.rows(x.T), box, x0=x0, rng=seed + 1000 * round, **common)
        minimize(w.value_and_gradient, end.x, jac=True, method="L-BFGS-B", bounds=box)


def basinhopping(w: Watched, seed: int) -> None:
    """SciPy, L-BFGS-B with exact gradients, steps of a tenth of the box to begin with, adapted often."""
    from scipy.optimize import basinhopping as run

    side = w.p.side
    draw = np.random.default_rng(seed)

    class Step:
        stepsize = 0.1 * 2 * side

        def __call__(self, x: Any) -> Any:
            return np.clip(x + draw.uniform(-self.stepsize, self.stepsize, x.shape), -side, side)

    local = {"method": "L-BFGS-B", "jac": True, "bounds": [(-side, side)] * w.p.n}
    run(w.value_and_gradient, w.p.start, niter=10**9, minimizer_kwargs=local, take_step=Step(), interval=10, rng=seed)


def cma(w: Watched, seed: int) -> None:
    """CMA-ES with BIPOP restarts, a whole population in one call."""
    import cma as package

    side = w.p.side
    options = {"bounds": [-side, side], "verbose": -9, "seed": seed + 1, "verb_log": 0, "tolfun": 1e-11, "maxfevals": 10**9}
    for _ in range(10**6):
        package.fmin2(
            None,
            lambda: w.p.start,
            0.25 * 2 * side,
            options,
            restarts=30,
            bipop=True,
            parallel_objective=lambda rows: list(w.rows(np.asarray(rows))),
        )
        options["seed"] += 1000


def nevergrad(w: Watched, seed: int) -> None:
    """Nevergrad's NGOpt, for about as many evaluations as the time allows."""
    import nevergrad as ng

    side = w.p.side
    space = ng.p.Array(init=w.p.start).set_bounds(-side, side)
    space.random_state.seed(seed)
    optimizer = ng.optimizers.NGOpt(parametrization=space, budget=10_000, num_workers=1)
    while True:
        asked = optimizer.ask()
        optimizer.tell(asked, w.value(asked.value))


PEERS = {f.__name__: f for f in (dual_annealing, dual_annealing_plain, differential_evolution, basinhopping, cma, nevergrad)}


def main() -> None:
    peer, seconds, goal = PEERS[sys.argv[1]], float(sys.argv[2]), float(sys.argv[3])
    warnings.simplefilter("ignore")
    with suppress(Over):  # imports and first calls are not timed
        peer(Watched(problem("rastrigin", 5, True, 0), 0.3, -1.0), 0)
    for line in sys.stdin:
        job = json.loads(line)
        p = problem(job["name"], job["n"], job["rotated"], job["seed"])
        w = Watched(p, seconds, goal)
        failed = ""
        try:
            peer(w, job["seed"])
        except Over:
            pass
        except Exception as error:  # a program that breaks has failed; the table says so
            failed = f"{type(error).__name__}: {error}"[:200]
        value = float(p.value(np.clip(w.x, -p.side, p.side)))
        row = job | {"program": sys.argv[1], "value": value, "solved": value <= goal, "evaluations": w.evaluations}
        print(json.dumps(row | {"seconds": w.when if math.isfinite(w.when) else None, "failed": failed}), flush=True)


if __name__ == "__main__":
    main()
