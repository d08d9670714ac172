"""What a run of pictures leaves in pictures/: the same bytes from the same run and from a resumed one, and nothing touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradlearn import seen
from gradlearn.cli import run
from gradlearn.loop import evaluating
from gradlearn.plan import Plan, choose_batch, choose_descent
from gradlearn.record.record import Record
from gradlearn.run import build
from gradlearn.tasks.images import Images

SMALL = ["--model", "convnet", "--convnet.width", "8", "--threads", "1", "--seed", "3", "--steps", "80"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits 3 and 8 as files, 3 the rarer, with copies, a wrong label, a blank picture and names that are HTML."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    root = tmp_path_factory.mktemp("data")
    for part, first in (("train", 0), ("test", 120)):
        for name, digit, n in (("<b>3</b>", 3, 30), ("8 & more", 8, 50)):
            folder = root / part / name.replace("/", "∕")
            folder.mkdir(parents=True)
            for i in np.flatnonzero(digits.target == digit)[first : first + n]:
                Image.fromarray((digits.images[i] * 255 / 16).astype(np.uint8)).save(folder / f"{i}.png")
    three = sorted((root / "train" / "<b>3<∕b>").iterdir())
    for i in range(5):
        shutil.copy(three[i], root / "test" / "<b>3<∕b>" / f"copy-{i}.png")
    shutil.copy(three[9], root / "train" / "8 & more" / "wrong.png")
    Image.new("L", (8, 8), 90).save(root / "train" / "8 & more" / "blank.png")
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    command = ["train", "images", str(data), "--runs", str(runs), *SMALL, "--save-every", "50", "--valid", "0.1"]
    assert run([*command, "--name", "one"]) == 0
    return runs / "one"


def test_the_files_say_what_the_data_were_made_to_show(trained: Path) -> None:
    folder = trained / "pictures"
    confusion = read(folder, "confusion")
    assert confusion["split"] == "test"
    assert np.sum(confusion["matrix"]) == 85
    assert [sum(row) for row in zip(*confusion["counts"].values(), strict=True)] == [52, 30]
    lint = read(folder, "lint")
    assert sum(row["count"] for row in lint if row.get("name") == "leak" and row["part"] == "test") == 5
    assert {"leak", "labels", "blank"} <= {row.get("name") for row in lint}
    for row in lint:
        assert all((folder / file).is_file() for one in row.get("shown", []) for file in one)
    counts = read(folder, "calibration")
    assert counts["test"]["n"] == 85
    assert sum(b["count"] for b in counts["test"]["bins"]) == 85
    unsure = read(folder, "unsure")
    gaps = [row["p"] - row["second p"] for row in unsure]
    assert gaps == sorted(gaps)
    assert seen.LEAST <= len(unsure) <= seen.MOST
    assert all(gap < seen.CLOSE for gap in gaps[seen.LEAST :])
    mistakes = read(folder, "mistakes")
    assert len(mistakes) == min(np.sum(confusion["matrix"]) - np.trace(confusion["matrix"]), seen.MOST)
    assert [row["own p"] for row in mistakes] == sorted(row["own p"] for row in mistakes)
    for row in [*mistakes, *unsure, *read(folder, "looks")]:
        assert picture(folder / row["file"]).shape == (8, 8)
    assert all(picture(folder / row["map"]).shape == (8, 8, 3) for row in read(folder, "looks"))
    assert read(folder, "looks")
    filters = read(folder, "filters")
    assert filters["shape"] == [8, 1, 3, 3]
    assert filters["changed"] > 0
    suspects = read(folder, "suspects")
    assert suspects["asked"] == {"valid": 8, "test": 85, "train": 74}
    score = json.loads((trained / "summary.json").read_text())["score"]["all"]
    recall = [row[i] / sum(row) for i, row in enumerate(confusion["matrix"])]
    assert score["test_balanced_accuracy"] == pytest.approx(np.mean(recall))


def test_a_resumed_run_writes_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    for name in ("pictures", "model"):
        shutil.rmtree(broken / name)
    (broken / "summary.json").unlink()
    shutil.rmtree(sorted((broken / "checkpoints").iterdir())[-1])
    assert run(["resume", str(broken)]) == 0
    assert bytes_of(broken / "pictures") == bytes_of(trained / "pictures")


def test_the_report_shows_them_all_and_escapes_what_they_are_called(trained: Path) -> None:
    text = (trained / "report.html").read_text()
    for piece in (
        "Where it hesitates",
        "How sure may one be of its probabilities?",
        "What it looks at",
        "What the first filters look for",
    ):
        assert f"<h2>{piece}</h2>" in text
    assert "Labels in doubt" in text
    assert "of 85 pictures of test are also in train" in text
    assert "<b>3<∕b>" not in text
    assert "&lt;b&gt;3&lt;∕b&gt;" in text
    assert "8 &amp; more" in text


def task_of(shape: tuple[int, int, int], k: int, model: str = "convnet", n: int = 60) -> Images:
    from gradlearn.data.images import Pictures

    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    labels = (np.arange(n) % k).astype(np.int32)
    split = {"train": np.arange(n // 2), "valid": np.arange(n // 2, n)}
    names = [f"{i}.png" for i in range(n)]
    pictures = Pictures(pixels, labels, tuple(f"c{i}" for i in range(k)), names, split, "folder", "d", [], "")
    return Images(
        pictures, Plan({"steps": 3, "model": model, f"{model}.width": 8, "batch": 16, "mirror_score": True, "device": "cpu"})
    )


@pytest.mark.parametrize(
    ("shape", "k", "name"), [((8, 8, 1), 2, "convnet"), ((40, 24, 3), 5, "resnet"), ((12, 12, 3), 30, "convnet")]
)
def test_weights_buffers_and_random_state_are_left_as_found(shape: tuple[int, int, int], k: int, name: str, tmp_path: Path) -> None:
    task = task_of(shape, k, name)
    task.choose()
    choose_batch(task.plan, len(task.data("train")))
    task.choose_size()
    choose_descent(task.plan)
    d = build(task, task.plan, valid=task.data("valid"))
    d.seen = 10_000
    model = d.theta.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    folder = tmp_path / "run"
    folder.mkdir()
    record = Record(folder)
    with evaluating(model):
        seen.write_pictures(task, d, record)
    record.close()
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.grad is not None and p.grad.abs().any() for p in model.parameters())
    assert read(folder / "pictures", "suspects")["asked"] == {"valid": 30, "train": 30}
    assert len(read(folder / "pictures", "looks")) > 0


def test_a_short_run_asks_no_more_than_its_share(tmp_path: Path) -> None:
    task = Images.read(None, Plan({"steps": 3, "model": "convnet", "convnet.width": 8}))
    task.choose()
    choose_batch(task.plan, len(task.data("train")))
    task.choose_size()
    choose_descent(task.plan)
    d = build(task, task.plan, valid=task.data("valid"), test=task.data("test"))
    d.seen = 90  # two training pictures, and no derivative
    (tmp_path / "run").mkdir()
    record = Record(tmp_path / "run")
    with evaluating(d.theta.model):
        seen.write_pictures(task, d, record)
    record.close()
    assert read(tmp_path / "run" / "pictures", "suspects")["asked"]["train"] == 2
    assert read(tmp_path / "run" / "pictures", "looks") == []
