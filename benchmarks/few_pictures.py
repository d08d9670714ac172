"""Claim: on 10, 40 and 160 digits `gradlearn train images` tells more apart than a tuned SVC or logistic regression.

scikit-learn's digits, as many of each class, twenty splits of each size; all other digits are the test. One command a split,
nothing else said but one thread, against scikit-learn's SVC (RBF) and logistic regression on the same pixels, each with scaling, C
and gamma chosen by stratified cross-validation on its own training digits. With one digit of each class there is nothing to
validate on: there each peer has the one setting that did best in cross-validation over all splits of 40. The bar is the mean over
the three sizes of our accuracy less that of the better peer of the size. `--data PATH` plays it on other pictures (grey or colour),
and is not kept.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import measure
from measure import Row

SIZES = (10, 40, 160)
FEW = 40  # the size whose best setting the peers have where there is one picture of each class
TESTED = 1000  # pictures of a test part that are scored, where the data have one
CS = {"SVC": (0.3, 1.0, 3.0, 10.0, 100.0), "logistic regression": (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)}
GAMMAS = (0.125, 0.25, 0.5, 1.0, 2.0)  # times 1 / (pixels x their variance), scikit-learn's "scale"
PEERS = tuple(CS)


def pictures(path: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Pixels (n, h, w, c), labels (n,), and which of them are a test part; None: those that are not trained on."""
    from gradlearn.data.images import read

    data = read(path)
    pixels = np.asarray(data.pixels)
    return pixels, data.labels.astype(np.int64), None if path is None else data.split["test"][:TESTED]


def divide(labels: np.ndarray, test: np.ndarray | None, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, as many of each class and `size` in all, and rows to test on."""
    draw, classes = np.random.default_rng([seed, size]), np.unique(labels)
    free = np.setdiff1d(np.arange(len(labels)), [] if test is None else test)
    rows = [draw.permutation(free[labels[free] == c])[: max(size // len(classes), 1)] for c in classes]
    train = np.concatenate(rows)
    return train, np.setdiff1d(free, train) if test is None else test


def settings(kind: str) -> list[dict[str, Any]]:
    """Every setting that a peer may have."""
    own = [{"C": c, "gamma": gamma} for c in CS[kind] for gamma in GAMMAS] if kind == "SVC" else [{"C": c} for c in CS[kind]]
    return [{"scaling": scaling} | one for scaling in ("none", "pixel by pixel", "picture by picture") for one in own]


def model(kind: str, x: np.ndarray, setting: dict[str, Any]) -> Any:
    """An untrained peer; its gamma is in units of the pixels of x as they will be scaled."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
    from sklearn.svm import SVC

    kinds = {"none": FunctionTransformer, "pixel by pixel": StandardScaler, "picture by picture": Normalizer}
    scaler = kinds[setting["scaling"]]()
    if kind == "logistic regression":
        return make_pipeline(scaler, LogisticRegression(C=setting["C"], max_iter=300))
    scaled = scaler.fit_transform(x)
    return make_pipeline(scaler, SVC(C=setting["C"], gamma=setting["gamma"] / (scaled.shape[1] * max(scaled.var(), 1e-9))))


def validated(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The accuracy of each setting in cross-validation."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(min(5, int(np.bincount(y).min())), shuffle=True, random_state=0)
    return np.array([cross_val_score(model(kind, x, one), x, y, cv=folds).mean() for one in settings(kind)])


def write_idx(folder: Path, pixels: np.ndarray, labels: np.ndarray, parts: dict[str, np.ndarray]) -> None:
    """Grey pictures as an IDX folder, colour ones as an image folder with parts."""
    if pixels.shape[3] == 1:
        for name, rows in parts.items():
            stem = {"train": "train", "test": "t10k"}[name]
            for what, values in (("images-idx3", pixels[rows, :, :, 0]), ("labels-idx1", labels[rows])):
                head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
                (folder / f"{stem}-{what}-ubyte").write_bytes(head + values.astype(np.uint8).tobytes())
        return
    from PIL import Image

    for name, rows in parts.items():
        for row in rows.tolist():
            place = folder / name / str(labels[row])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[row]).save(place / f"{row}.png")


def ours(pixels: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, more: list[str]) -> Row:
    """One command, called in this process: its accuracy on the test part, its wall time, and the processor's."""
    from gradlearn.cli import run

    with measure.scratch() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
        (folder / "data").mkdir()
        write_idx(folder / "data", pixels, labels, {"train": train, "test": test})
        begun, used = time.perf_counter(), time.process_time()
        code = run(["train", "images", str(folder / "data"), "--runs", str(folder / "runs"), "--json", *more])
        wall, used = time.perf_counter() - begun, time.process_time() - used
    if code:
        raise SystemExit(f"gradlearn train images: exit code {code}")
    return {"ours": json.loads(said.getvalue())["score"]["test"], "wall_s": round(wall, 2), "processor_s": round(used, 2)}


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--data", help="other pictures: a path that `gradlearn train images` takes (not kept)")
    parser.add_argument("--splits", type=int, default=20, help="how many of each size (default 20)")
    arguments = parser.parse_args()
    splits, more = (2, ["--steps", "20"]) if arguments.quick else (arguments.splits, ["--threads", "1"])
    pixels, labels, test = pictures(arguments.data)
    flat = pixels.reshape(len(pixels), -1)
    rows: list[Row] = []
    shown = {kind: np.zeros(len(settings(kind))) for kind in PEERS}  # of each setting, summed over the splits of FEW
    for size in (FEW, *(s for s in SIZES if s != FEW)):
        for seed in range(splits):
            train, rest = divide(labels, test, size, seed)
            x, y, unseen = flat[train] / 255.0, labels[train], flat[rest] / 255.0
            row: Row = {"size": size, "split": seed} | ours(pixels, labels, train, rest, more)
            for kind in PEERS:
                known = validated(kind, x, y) if np.bincount(y).min() > 1 else shown[kind]
                if size == FEW:
                    shown[kind] += known
                chosen = settings(kind)[int(known.argmax())]
                row[kind] = float(model(kind, x, chosen).fit(x, y).score(unseen, labels[rest]))
            rows.append(row)
            print("  " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    judge(rows, arguments)


def judge(rows: list[Row], arguments: Any) -> None:
    """Means, the bars, and the result."""
    means = []
    for size in SIZES:
        mine = [row for row in rows if row["size"] == size]
        means.append({"size": size} | {who: statistics.fmean(row[who] for row in mine) for who in ("ours", *PEERS)})
    ahead = [row["ours"] - max(row[kind] for kind in PEERS) for row in means]
    bars = [measure.bar("accuracy, ours less the better peer's, mean of the sizes", statistics.fmean(ahead), 0.0, below=False)]
    bars += [measure.bar(f"the same with {size}", lead, 0.0, below=False) for size, lead in zip(SIZES, ahead, strict=True)]
    bars.append(measure.bar("longest command, s of one processor core", max(row["processor_s"] for row in rows), 30))
    measure.table(means, arguments.data or "digits")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "means": means, "rows": rows}
    measure.write("few_pictures", payload, arguments.quick or arguments.data is not None or arguments.splits != 20)


if __name__ == "__main__":
    main()
