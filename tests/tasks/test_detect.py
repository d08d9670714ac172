"""Detection: what the data hand over, what is chosen for them, and a whole run of the command line on pictures of squares."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradlearn import cli
from gradlearn.boxes import HARD
from gradlearn.data.boxes.boxed import Boxed
from gradlearn.data.canvas import lay
from gradlearn.detected import Detected
from gradlearn.loaded import load
from gradlearn.plan import Plan
from gradlearn.symbols import Now, Step
from gradlearn.tasks import detect as module
from gradlearn.tasks.detect import Detect, size_for

H, W, N = 96, 128, 28
CLASSES = ("blue", "red")
FAST = ["--threads", "1", "--detector.width", "8", "--detector.precision", "float32", "--json"]


def squares(folder: Path) -> None:
    """A VOC folder: dark pictures, each with two or three red or blue squares; every seventh picture has none."""
    rng = np.random.default_rng(0)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for i in range(N):
        pixels, things = rng.integers(0, 50, (H, W, 3), dtype=np.uint8), ""
        for k in range(int(rng.integers(2, 4)) if i % 7 else 0):
            x, y, side, label = 4 + 42 * k, int(rng.integers(2, 60)), int(rng.integers(18, 32)), int(rng.integers(2))
            pixels[y : y + side, x : x + side, 2 - 2 * label] = 230
            box = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + side}</xmax><ymax>{y + side}</ymax>"
            hard = f"<difficult>{int(k == 2)}</difficult>"
            things += f"<object><name>{CLASSES[label]}</name>{hard}<bndbox>{box}</bndbox></object>\n"
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{i:02d}.png")
        size = f"<size><width>{W}</width><height>{H}</height></size>"
        (folder / "Annotations" / f"{i:02d}.xml").write_text(f"<annotation>{size}\n{things}</annotation>")
    for part, rows in (("train", range(16)), ("val", range(16, 22)), ("test", range(22, N))):
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{i:02d}\n" for i in rows))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares") / "voc"
    squares(folder)
    return folder


@pytest.fixture(scope="module")
def boxed(data: Path) -> Boxed:
    from gradlearn.data.boxes.read import read

    return read(data)


@pytest.fixture
def task(boxed: Boxed) -> Detect:
    canvases = lay([boxed.path(i) for i in range(len(boxed))], (H, W))
    plan = Plan({"batch": 4, "device": "cpu", "detector.width": 8, "detector.precision": "float32", "size": W})
    made = Detect(boxed, canvases, plan)
    made.choose()
    return made


def test_pictures_are_handed_over_with_their_boxes_and_hard_ones_are_marked(task: Detect, boxed: Boxed):
    batch = task.data("valid")(torch.tensor([3, 0]), -1)
    assert batch.x.shape == (2, 3, H, W)
    assert batch.index.tolist() == [boxed.split["valid"][3], boxed.split["valid"][0]]
    for rows, i in zip(batch.y, batch.index.tolist(), strict=True):
        boxes, labels, hard = boxed.of(i)
        assert np.allclose(rows[rows[:, 0] >= 0, 1:], boxes[~hard])
        assert rows[rows[:, 0] >= 0, 0].tolist() == labels[~hard].tolist()
        assert np.allclose(rows[rows[:, 0] <= HARD, 1:], boxes[hard])
        assert (HARD - rows[rows[:, 0] <= HARD, 0]).tolist() == labels[hard].tolist()
    assert boxed.hard.any()


def test_training_draws_are_a_function_of_their_key_and_the_last_are_of_whole_pictures(task: Detect):
    data, index = task.data("train"), torch.arange(6)
    one, two, other = (data(index, draw) for draw in (5, 5, 6))
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.y, two.y)
    assert not torch.equal(one.x, other.x)
    data.follow(Now(99, 100, 0, 0))
    late = data(index, 5)
    assert not torch.equal(one.x, late.x)
    data.follow(Now(50, 100, 0, 0))
    assert torch.equal(data(index, 5).x, one.x)


def test_losses_are_those_of_each_picture_alone(task: Detect):
    model, batch = task.model(0).eval(), task.data("valid")(torch.arange(6), -1)
    whole = task.losses(model, batch)
    assert whole.total.shape == whole.count.shape == (6,)
    for k, piece in enumerate(batch.pieces(1)):
        assert torch.allclose(task.losses(model, piece).total, whole.total[k : k + 1], rtol=1e-4)


def test_a_detector_that_knows_the_answers_scores_one(task: Detect, boxed: Boxed, monkeypatch: pytest.MonkeyPatch):
    rows = iter(boxed.split["test"].tolist())

    def known(model: object, pixels: torch.Tensor, extents: torch.Tensor) -> list[Detected]:
        found = []
        for _ in range(len(pixels)):
            boxes, labels, _hard = boxed.of(next(rows))
            found.append(Detected(torch.from_numpy(boxes), torch.ones(len(boxes)), torch.from_numpy(labels).long()))
        return found

    monkeypatch.setattr(module, "detect", known)
    score = task.score(torch.nn.Identity(), task.data("test"))
    assert score.value == pytest.approx(1.0)
    assert score.all["mAP50"] == pytest.approx(1.0)
    assert {"AP50 red", "AP50 blue"} <= score.all.keys()


def test_levels_follow_the_sizes_of_boxes(task: Detect):
    def strides(times: float) -> list[int]:
        task.on_canvas, own = task.on_canvas * times, task.on_canvas
        found, _ = task._strides()
        task.on_canvas = own
        return found

    assert strides(1.0) == [8, 16, 32]
    assert strides(0.2) == [8, 16, 32]
    assert strides(3.0) == [16, 32]
    assert strides(12.0) == [16, 32, 64]


def test_size_follows_the_smallest_class(boxed: Boxed):
    assert size_for(boxed)[0] == 320  # 128 pixels wide, the smallest canvas
    large = replace(boxed, sizes=boxed.sizes * 10)  # the same boxes in pictures of 1,280
    sides = np.sqrt((boxed.boxes[:, 2:] - boxed.boxes[:, :2]).prod(1))
    smallest = min(float(np.median(sides[boxed.labels == k])) for k in range(2))
    size = size_for(large)[0]
    assert smallest * size / 1280 >= module.SMALL > smallest * (size - 32) / 1280
    assert size % 32 == 0


def test_colours_tell_and_flips_do_not(task: Detect):
    task.choose_augmentation(10)
    assert task.plan["mirror"] is True
    assert task.plan["lr"] == 0.02


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    assert (
        cli.run(["train", "detect", str(data), "--size", "96", "--steps", "120", "--batch", "4", "--runs", str(runs), *FAST]) == 0
    )
    return runs / "detect-001"


def test_squares_are_found_after_a_hundred_steps_and_the_run_is_whole(trained: Path):
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["task"] == "detect"
    assert summary["score"]["all"]["train_mAP50"] > 0.4  # one that has learned nothing has less than 0.01
    assert summary["score"]["all"]["test_mAP50"] > 0.2
    assert (trained / "report.html").stat().st_size > 1000
    assert "nothing to do" in resumed(trained)


def resumed(run: Path) -> str:
    from gradlearn.session import resume

    said: list[str] = []
    resume(run, lambda d, step: None, said.append, 0.0)
    return " ".join(said)


def test_what_is_predicted_is_told_drawn_and_scored(trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["predict", str(trained), str(data / "JPEGImages" / "22.png"), "--draw", str(tmp_path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["predictions"]
    assert told["boxes"]
    assert set(told["boxes"][0]) == {"class", "score", "bbox"}
    assert told["boxes"][0]["class"] in CLASSES
    x, y, w, h = told["boxes"][0]["bbox"]
    assert 0 <= x < x + w <= W
    assert 0 <= y < y + h <= H
    assert all(box["score"] >= load(trained).card["threshold"] for box in told["boxes"])
    (drawn,) = tmp_path.glob("*.png")
    before, after = (np.asarray(Image.open(p)) for p in (data / "JPEGImages" / "22.png", drawn))
    assert before.shape == after.shape
    assert (before != after).any()
    assert cli.run(["evaluate", str(trained), str(data), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    summary = json.loads((trained / "summary.json").read_text())
    assert result["examples"] == 6
    assert result["score"]["value"] == pytest.approx(summary["score"]["test"], abs=1e-6)
    assert cli.run(["evaluate", str(trained), str(data)]) == 0
    text = capsys.readouterr().out
    assert f"from a score of {load(trained).card['threshold']:.2f} on" in text
    assert result["threshold"] == load(trained).card["threshold"]
    assert "mAP50" in text
    assert "errors: " in text
    assert all(name in text for name in (*CLASSES, "background"))


def test_what_is_found_is_written_as_coco_and_read_back_by_its_tools(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from faster_coco_eval import COCO

    file = tmp_path / "found.json"
    folder = str(data / "JPEGImages")
    assert cli.run(["predict", str(trained), folder, "--coco", str(file), "--score", "0.2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["predictions"]
    document = json.loads(file.read_text())
    assert [row["file_name"] for row in document["images"]] == [row["file"] for row in told]
    assert {(row["height"], row["width"]) for row in document["images"]} == {(H, W)}
    assert len(document["annotations"]) == sum(len(row["boxes"]) for row in told) > 0
    assert min(row["score"] for row in document["annotations"]) >= 0.2
    names = {row["id"]: row["name"] for row in document["categories"]}
    numbers = {row["id"]: row["file_name"] for row in document["images"]}
    rows = [(numbers[a["image_id"]], names[a["category_id"]], a["bbox"], a["score"]) for a in document["annotations"]]
    assert rows == [(row["file"], box["class"], box["bbox"], box["score"]) for row in told for box in row["boxes"]]
    truth = COCO(document)
    assert len(truth.loadRes(document["annotations"]).anns) == len(document["annotations"])


def test_what_is_of_a_detector_is_refused_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = tmp_path / "runs"
    assert cli.run(["train", "images", "--steps", "2", "--threads", "1", "--runs", str(runs), "--json"]) == 0
    capsys.readouterr()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    assert cli.run(["predict", str(runs / "images-001"), str(tmp_path / "a.png"), "--score", "0.5"]) == 2
    assert "--score: of a detector" in capsys.readouterr().err


def test_a_score_out_of_range_is_refused(trained: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["predict", str(trained), str(data / "JPEGImages" / "22.png"), "--score", "1.5"]) == 2
    assert "--score 1.5: must be in [0, 1]" in capsys.readouterr().err


def test_boxes_that_reach_out_stop_a_training_that_does_not_clip_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    import shutil

    folder = shutil.copytree(data, tmp_path / "voc")
    sheet = folder / "Annotations" / "01.xml"
    text = sheet.read_text()
    sheet.write_text(text.replace("<xmin>4</xmin>", "<xmin>-9</xmin>"))
    asked = ["train", "detect", str(folder), "--size", "64", "--steps", "1", "--runs", str(tmp_path / "runs"), *FAST]
    assert cli.run(asked) == 2
    assert "pass --clip-boxes" in capsys.readouterr().err
    assert cli.run([*asked, "--clip-boxes"]) == 0


def test_a_wish_that_is_for_another_task_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for task, path, flag in (("detect", [str(data)], "--allow-empty-class"), ("images", [], "--clip-boxes")):
        assert cli.run(["train", task, *path, flag, "--steps", "1", "--runs", str(tmp_path / "runs")]) == 2
        assert f"{flag}: is not for {task}; leave it out" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_training_begins_with_the_weights_of_another_at_its_size(trained: Path, data: Path, tmp_path: Path):
    asked = ["train", "detect", str(data), "--from", str(trained), "--steps", "2", "--runs", str(tmp_path), "--threads", "1"]
    assert cli.run([*asked, "--json"]) == 0
    assert load(tmp_path / "detect-001").card["size"] == load(trained).card["size"] == 96


def test_the_report_has_curves_errors_and_pictures_with_boxes(trained: Path, boxed: Boxed):
    found = json.loads((trained / "pictures" / "detection.json").read_text())
    assert found["split"] == "test"
    rows = boxed.rows(boxed.split["test"])
    assert sum(row["boxes"] for row in found["classes"]) == (~boxed.hard[rows]).sum()
    drawn = json.loads((trained / "pictures" / "drawn.json").read_text())
    for picture in drawn:
        right = sum(box["is"] == "right" for box in picture["boxes"])
        missed = sum(box["is"] == "missed" for box in picture["boxes"])
        i = list(boxed.files).index(picture["source"])
        assert right + missed == (~boxed.of(i)[2]).sum()
        assert picture["errors"] == sum(box["is"] in ("missed", "extra") for box in picture["boxes"])
    page = (trained / "report.html").read_text()
    for title in ("What it finds", "What it gets wrong", "What it sees", "Precision over recall"):
        assert title in page
    assert page.count("<image href=") == len(drawn)


def test_the_threshold_is_chosen_without_the_test_pictures(trained: Path, boxed: Boxed, data: Path):
    from gradlearn.evaluation_boxes import scored

    model = load(trained)
    valid = scored(model, boxed, boxed.split["valid"].astype(np.int64))
    assert model.card["threshold"] == round(valid.threshold, 4)
    shown = json.loads((trained / "pictures" / "detection.json").read_text())
    assert shown["threshold"] == model.card["threshold"]
    test = scored(model, boxed, boxed.split["test"].astype(np.int64), valid.threshold)
    assert [row["AP50"] for row in shown["classes"]] == pytest.approx(test.ap50.tolist(), abs=1e-4)
    assert shown["errors"] == test.errors


def test_a_name_stands_above_its_box_and_inside_the_picture():
    from gradlearn.found import beside

    assert beside((20, 50, 60, 90), (30, 10), 128) == (20, 39)
    assert beside((20, 5, 60, 90), (30, 10), 128) == (20, 6), "there is no room above"
    assert beside((110, 50, 120, 90), (30, 10), 128) == (97, 39)
    assert beside((2, 50, 9, 90), (300, 10), 128) == (0, 39), "longer than the picture is wide"


def test_the_model_comes_back_as_it_was_saved(trained: Path, boxed: Boxed):
    from gradlearn.found import find_boxes

    files = [boxed.path(i) for i in boxed.split["test"].tolist()]
    one, two = ([p.boxes for p in find_boxes(load(trained), files)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert load(trained).classes == CLASSES


def begun(data: Path, runs: Path, stop: int = -1, **reading: int) -> Path:
    """A run of eight steps; a signal comes after step `stop`."""
    from gradlearn.session import begin

    def show(d: object, step: Step) -> None:
        if step.t == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    user = {"steps": 8, "threads": 1, "batch": 4, "detector.width": 8, "detector.precision": "float32"}
    begin("detect", data, user, {"size": 64} | reading, runs, None, time.monotonic(), show, lambda line: None)
    return runs / "detect-001"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load(run).model.state_dict()


def test_equal_seeds_give_equal_runs_and_a_stopped_one_goes_on_as_if_it_had_not_been(data: Path, tmp_path: Path):
    whole, again, stopped = (begun(data, tmp_path / name, stop) for name, stop in (("a", -1), ("b", -1), ("c", 4)))
    assert not (stopped / "model").exists()
    assert "resumed at step 5 of 8" in resumed(stopped)
    for other in (again, stopped):
        assert all(torch.equal(value, weights(other)[name]) for name, value in weights(whole).items())


def test_test_pictures_are_looked_through_once(data: Path, boxed: Boxed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen, judge = [], Detect.judge

    def counting(self: Detect, model: torch.nn.Module, pictures: Any, threshold: float | None = None) -> module.Judged:
        seen.append(tuple(getattr(pictures, "rows", torch.zeros(0)).tolist()))
        return judge(self, model, pictures, threshold)

    monkeypatch.setattr(Detect, "judge", counting)
    begun(data, tmp_path)
    assert seen.count(tuple(boxed.split["test"].tolist())) == 1


def test_pictures_beyond_memory_are_read_from_a_file_and_the_run_is_the_same(data: Path, tmp_path: Path):
    inside, outside = begun(data, tmp_path / "a"), begun(data, tmp_path / "b", memory=10_000)
    assert "are read from disk, not memory" in (outside / "pictures" / "lint.json").read_text()
    assert "are read from disk, not memory" not in (inside / "pictures" / "lint.json").read_text()
    assert all(torch.equal(value, weights(outside)[name]) for name, value in weights(inside).items())
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["detect-001"]


def test_a_size_that_shows_nothing_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["train", "detect", str(data), "--size", "12", "--runs", str(tmp_path)]) == 2
    assert "--size 12: must be at least 32" in capsys.readouterr().err


def test_background_is_no_class_of_the_model_card(trained: Path):
    card = (trained / "model" / "README.md").read_text()
    assert "| blue |" in card
    assert "| background |" not in card


def test_no_path_is_refused(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["train", "detect"]) == 2
    assert "detect: no data; give a folder with boxes" in capsys.readouterr().err


def test_an_export_finds_what_predict_finds_by_the_code_on_its_card(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    file = str(data / "JPEGImages" / "23.png")
    assert cli.run(["predict", str(trained), file, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["predictions"]
    for to, out in (("onnx", tmp_path / "squares.onnx"), ("torch", tmp_path / "torch")):
        assert cli.run(["export", str(trained), "--to", to, "--out", str(out), "--json"]) == 0
        done = json.loads(capsys.readouterr().out)
        assert done["difference"] <= 1e-4
        card = Path(done["card"])
        code = card.read_text().partition("```python\n")[2].partition("```")[0].replace("picture.png", file)
        monkeypatch.chdir(card.parent)
        monkeypatch.syspath_prepend(str(card.parent))
        exec(compile(code, str(card), "exec"), {"__name__": "card"})
        printed = [line.split(" ", 2) for line in capsys.readouterr().out.splitlines()]
        assert [name for name, _, _ in printed] == [box["class"] for box in told["boxes"]]
        for (_, score, corners), box in zip(printed, told["boxes"], strict=True):
            x, y, w, h = box["bbox"]
            assert float(score) == pytest.approx(box["score"], abs=2e-3)
            assert [float(v) for v in corners.strip("[]").split()] == pytest.approx([x, y, x + w, y + h], abs=0.2)
