"""Claim: on CIFAR-10 `--time 15m` gives 80 % test accuracy on two cores, and the time is kept."""

from __future__ import annotations

import statistics

import measure


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", default="../shared/data/cifar10", help="the Parquet folder, from the repository's root")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    arguments = parser.parse_args()
    time, seconds = ("30s", 30.0) if arguments.quick else ("15m", 900.0)
    rows = []
    for seed in range(1 if arguments.quick else arguments.seeds):
        rows.append({"time": time, **measure.train(arguments.data, "--time", time, seed=seed)})
        print(f"  seed {seed}: test {rows[-1]['test']:.4f}, {rows[-1]['wall_s']:.1f} s", flush=True)
    test = statistics.median(row["test"] for row in rows)
    bars = [measure.bar(f"--time {time}: median test accuracy", test, 0.80, below=False)]
    bars.append(measure.bar(f"--time {time}: longest command, s", max(row["wall_s"] for row in rows), seconds))
    measure.table(rows, "CIFAR-10")
    measure.table(bars)
    measure.write("cifar10", {"claim": measure.first_line(__doc__), "bars": bars, "rows": rows}, arguments.quick)


if __name__ == "__main__":
    main()
