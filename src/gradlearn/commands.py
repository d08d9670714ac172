"""What each command does: a call into the rest, and its answer as lines or as one JSON document. Returns the exit code."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlearn import find
from gradlearn.arguments import plugin_options
from gradlearn.errors import InputTrouble, ResourceTrouble, printable
from gradlearn.plan import seconds_of

if TYPE_CHECKING:
    from gradlearn.loaded import Loaded

READING = (
    "valid",
    "test",
    "size",
    "skip_bad",
    "max_pixels",
    "memory",
    "allow_empty_class",
    "follow_links_to",
    "clip_boxes",
    "images",
)
LENGTH = ("time", "epochs", "steps")
EQUATION = (
    "model",
    "batch",
    "batches",
    "lr",
    "update",
    "gradient",
    "average",
    "penalty",
    "grow",
    "rate",
    "clip",
    "shift",
    "mirror",
    "crop",
    "rotate",
    "trivial",
    "colour",
    "cutout",
    "mixup",
    "cutmix",
    "progressive",
    "warp",
    "without",
)
PLANNED = (*LENGTH, *EQUATION, "from", "head_first", "first_rate", "compile", "seed", "device", "threads", "save_every")


def train(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn train TASK [PATH]`."""
    find.describe("tasks", options.task)
    user, reading = _asked(options, rest)
    if sum(k in user for k in ("time", "epochs", "steps")) > 1:
        raise InputTrouble("--time, --epochs and --steps exclude each other; give one")
    from gradlearn.live import Live
    from gradlearn.session import begin

    with Live(quiet=options.json) as live:
        summary = begin(options.task, options.path, user, reading, options.runs, options.name, begun, live.show, live.say)
    return tell(summary, options.json)


def _asked(options: argparse.Namespace, rest: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The choices, those of --config included, and how the data are to be read; `options.path` becomes where they are."""
    user = {k: getattr(options, k) for k in PLANNED if getattr(options, k) is not None} | plugin_options(rest, options.flags)
    if options.no_act:
        user["act"] = False
    if "time" in user:
        seconds_of(user["time"])
    if options.config is not None:
        user, options.path = _configured(options.config, user, options.path)
    return user, {k: getattr(options, k) for k in READING}


def probe(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn probe TASK [PATH]`."""
    return _shown("probe", options, rest, begun)


def twins(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn twins TASK [PATH]`."""
    return _shown("twins", options, rest, begun)


def _shown(name: str, options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    if ":" not in options.task:  # MODULE:FUNCTION
        find.describe("tasks", options.task)
    user, reading = _asked(options, rest)
    from gradlearn import showing

    return getattr(showing, name)(options, user, reading, begun)


def _configured(config: Path, user: dict[str, Any], path: Path | None) -> tuple[dict[str, Any], Path | None]:
    """The choices of an earlier run.toml, less those that are given now and those that follow from others."""
    from gradlearn.record.settings import load

    saved = load(config)
    length = {"time", "epochs", "steps"}
    found = {"compiled"}  # what came of a wish
    dropped = found | length | {"looks", "score_every", "ema.every"} if length & user.keys() else found | {"time", "epochs"}
    choices = {
        k: c["value"] for k, c in saved.get("choice", {}).items() if k not in dropped and not c["why"].startswith("follows from")
    }
    data = saved.get("data", {})
    if path is None and data.get("kind") not in (None, "digits"):
        path = Path(data.get("path", data["source"]))
    return choices | user, path


def resume(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn resume RUN`."""
    from gradlearn.live import Live
    from gradlearn.session import resume as go_on

    with Live(quiet=options.json) as live:
        summary = go_on(options.run, live.show, live.say, begun)
    return tell(summary, options.json)


def tell(summary: dict[str, Any], as_json: bool) -> int:
    """The end of a training: score, account, folder."""
    code = int(summary.pop("code", 0))
    error = summary.pop("error", None)
    if as_json:
        print(json.dumps(summary))
    elif "story" in summary:
        score = summary["score"]
        print()
        if score:
            print("   ".join(f"{split} {score['name']} {score[split]:.2%}" for split in ("valid", "test") if split in score))
            halves = [
                f"{split} mAP50 {score['all'][f'{split}_mAP50']:.2%}"
                for split in ("valid", "test")
                if f"{split}_mAP50" in score["all"]
            ]
            print("   ".join(halves), end="\n" if halves else "")
        print(f"\n{summary['story']}\n")
        print(f"run     {summary['run']}")
        if summary["stop"]["reason"] != "signal":
            print(f"report  {Path(summary['run']) / 'report.html'}")
    if error:
        print(f"gradlearn: error: {printable(error, 2000)}", file=sys.stderr)
    return code


def predict(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn predict RUN FILE|DIR...`."""
    from gradlearn.data.images import read_files
    from gradlearn.loaded import load

    model = load(options.run)
    if model.card["task"] == "detect":
        return _find(model, options)
    if given := next((name for name in ("draw", "coco", "score") if getattr(options, name) is not None), None):
        raise InputTrouble(f"--{given}: of a detector, and {options.run} is no run of one; leave it out")
    height, width, channels = model.card["shape"]
    pixels, names = read_files(options.paths, (height, width), channels)
    p = model.predict(pixels)
    rows = [
        {"file": name, "class": model.classes[int(q.argmax())], "p": round(float(q.max()), 6)}
        for name, q in zip(names, p, strict=True)
    ]
    if options.json:
        full = [row | {"all": dict(zip(model.classes, map(float, q), strict=True))} for row, q in zip(rows, p, strict=True)]
        print(json.dumps({"run": str(options.run), "predictions": full}))
        return 0
    wide = max(len(printable(row["file"], 60)) for row in rows)
    for row in rows:
        print(f"{printable(row['file'], 60):{wide}}  {printable(row['class'], 40):20}  {row['p']:.1%}")
    return 0


def _find(model: Loaded, options: argparse.Namespace) -> int:
    """What a detector finds in each picture; with --draw the pictures with their boxes."""
    from gradlearn.data.images import listed
    from gradlearn.found import coco, draw, find_boxes
    from gradlearn.record import disk

    names, files, rejects = listed(options.paths)
    if rejects:
        raise InputTrouble(rejects[0].line)
    found = list(find_boxes(model, files, options.score))
    if options.draw is not None:
        for k, picture in enumerate(found):
            draw(picture, model.classes, options.draw / f"{k:04d}-{Path(picture.file).stem}.png")
    if options.coco is not None:
        document = json.dumps(coco(model, found, names))
        try:
            disk.replace(options.coco, document.encode())
        except OSError as error:
            raise ResourceTrouble(disk.refusal(options.coco, error)) from error
    told = [{"file": name, "boxes": picture.rows(model.classes)} for name, picture in zip(names, found, strict=True)]
    if options.json:
        print(json.dumps({"run": str(options.run), "predictions": told}))
        return 0
    for row in told:
        print(f"{printable(row['file'], 100)}  {len(row['boxes'])} found")
        for box in row["boxes"]:
            x, y, w, h = box["bbox"]
            print(f"  {printable(box['class'], 30):20} {box['score']:6.1%}   x {x:.0f} y {y:.0f}, {w:.0f} x {h:.0f}")
    return 0


def evaluate(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn evaluate RUN DATA`."""
    from gradlearn.evaluation import evaluate as on

    result = on(options.run, options.data)
    if options.json:
        print(json.dumps(result))
        return 0
    if "mAP50" in result["score"]:
        from gradlearn.evaluation_boxes import lines

        print("\n".join(lines(result)))
        return 0
    interval = " to ".join(f"{end:.2%}" for end in result["interval"])
    print(f"accuracy {result['score']['value']:.2%} on {result['examples']:,} pictures (95 % interval {interval})")
    every = result["score"]["all"]
    print(f"each class counted the same: balanced accuracy {every['balanced_accuracy']:.2%}, macro F1 {every['macro_f1']:.2%}")
    print(f"  {'class':30} {'right':>6} {'of':>6}  recall  precision      F1")
    for row in result["classes"]:
        recall, precision, f1 = ("-" if row[k] is None else f"{row[k]:.1%}" for k in ("recall", "precision", "f1"))
        print(f"  {printable(row['class'], 30):30} {row['right']:>6} {row['examples']:>6}  {recall:>6}  {precision:>9}  {f1:>6}")
    return 0


def export(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn export RUN --to onnx|torch`."""
    if options.to == "torch" and (options.opset is not None or options.batch is not None):
        raise InputTrouble("--opset and --batch are of ONNX; leave them out with --to torch")
    from gradlearn.exports import to_onnx, to_torch

    if options.to == "torch":
        done = to_torch(options.run, options.out)
    else:
        done = to_onnx(options.run, options.out, options.opset, options.batch)
    if options.json:
        print(json.dumps(done))
        return 0
    agrees = f"checked on {done['checked']} examples: it differs from the model by {done['difference']:.1e} at most"
    print(f"{done['file']}\n{done['card']}\n{agrees}")
    return 0


def compare(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn compare RUN RUN...`."""
    from gradlearn.record.folder import open_run
    from gradlearn.report.compare import compare as side_by_side

    rows, lines = side_by_side([open_run(path) for path in options.runs])
    print(json.dumps({"runs": rows}) if options.json else "\n".join(lines))
    return 0


def report(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn report RUN`."""
    from gradlearn.record.folder import open_run
    from gradlearn.report.page import write

    path = write(open_run(options.run))
    print(json.dumps({"report": str(path)}) if options.json else path)
    return 0


def explain(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn explain RUN`."""
    from gradlearn.record.folder import open_run
    from gradlearn.report.account import answers, opening
    from gradlearn.report.folder import read

    run = read(open_run(options.run))
    said = answers(run)
    if options.json:
        found = [{"question": question, "answer": answer} for question, answer in said]
        print(json.dumps({"run": str(options.run), "story": opening(run), "answers": found}))
        return 0
    for title, text in [("", opening(run)), *said]:
        print("\n".join(filter(None, (title, textwrap.fill(text, 100)))), end="\n\n")
    return 0


def list_plugins(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn list [KIND]`."""
    kinds = find.KINDS if options.kind is None else (options.kind,)
    found = [find.describe(kind, name) for kind in kinds for name in find.names(kind)]
    if options.json:
        rows = [
            {"kind": f.kind, "name": f.name, "summary": f.summary, "options": {o.name: o.default for o in f.options}} for f in found
        ]
        print(json.dumps({"plugins": rows}))
        return 0
    for kind in kinds:
        print(kind)
        for f in (f for f in found if f.kind == kind):
            print(f"  {f.name:16} {f.summary}")
            for o in f.options if options.kind else ():
                if (f.kind, o.name) == ("update", "lr"):
                    continue  # given as --lr
                print(f"  {'':16}   --{f.name}.{o.name} {o.default!r}  {o.help}")
    return 0


def check(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn check`, `gradlearn check gradient MODULE:FUNCTION`."""
    if options.what == "gradient":
        if options.model is None:
            raise InputTrouble(
                "check gradient: which model? give MODULE:FUNCTION, as my_model:example; it returns (model, (x, y), loss)"
            )
        from gradlearn.gradient_check import check_gradient

        return check_gradient(options, rest, begun)
    from gradlearn.setup_check import inspect

    rows = inspect()
    good = all(row["ok"] for row in rows if row["needed"])
    if options.json:
        print(json.dumps({"ok": good, "checks": rows}))
    else:
        for row in rows:
            print(f"{'ok ' if row['ok'] else '-- ' if not row['needed'] else 'NO '} {row['what']:24} {row['found']}")
    return 0 if good else 2


def convert(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn convert PATH OUT --to voc|coco|yolo`."""
    from gradlearn.data.boxes.convert import convert as into

    reading = {k: getattr(options, k) for k in ("clip_boxes", "skip_bad", "images", "follow_links_to")}
    done = into(options.path, options.out, options.to, link=options.link, **reading)
    boxed = done.boxed
    if options.json:
        parts = {name: len(rows) for name, rows in boxed.split.items()}
        counted = {"pictures": len(boxed), "boxes": len(boxed.boxes), "classes": list(boxed.classes), "parts": parts}
        print(json.dumps({"out": done.out, "from": boxed.kind, "to": done.to, **counted, "notes": boxed.notes, "said": done.said}))
        return 0
    print(printable(boxed.summary, 2000))
    for row in boxed.notes:
        examples = f": {row['examples'][0]}{', ...' if row['count'] > 1 else ''}" if row["examples"] else ""
        print(printable(f"{row['what']}{examples}", 300))
    print("".join(f"{line}\n" for line in done.said), end="")
    print(f"\n{done.to}  {printable(done.out, 300)}")
    return 0


def minimize(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn minimize NAME|MODULE:FUNCTION`."""
    from gradlearn.minimum.command import minimize as command

    return command(options, rest, begun)
