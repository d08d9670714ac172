"""Claim: on CIFAR-10 `--time 3m` gives 80 %, `15m` 89 % and `60m` 93 % test accuracy on two cores, and the time is kept.

The median test accuracy over the seeds on the given 10,000 test pictures; the longest wall time of a whole command, from its
start to its end, against the time that was asked for.
"""

from __future__ import annotations

import budgets

BUDGETS = {"3m": (180.0, 0.80, 3), "15m": (900.0, 0.89, 1), "60m": (3600.0, 0.93, 1)}


if __name__ == "__main__":
    budgets.run("cifar10", __doc__, "../shared/data/cifar10", BUDGETS, {"30s": (30.0, 0.3, 1)})
