"""The command line: arguments in, one line or one JSON document out. Thin: every command is a call into the rest.

    gradlearn train images [PATH] [--time 60s]     probe, twins, predict, evaluate, compare, report, resume, list, check, convert

Nothing heavy is imported before a command needs it. With --json stdout holds one JSON document and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gradlearn import __version__, find
from gradlearn import commands as act
from gradlearn.arguments import (
    amount,
    batch,
    bytes_of,
    dynamic_or_whole,
    positive,
    separated,
    share,
    share_or_path,
    whole,
    yes_or_no,
)
from gradlearn.errors import InputTrouble, Trouble, nearest, printable


class Parser(argparse.ArgumentParser):
    """argparse with our errors: one line, and the nearest known name."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        if unknown := re.match(r"argument COMMAND: invalid choice: '(.*)' \(", message):
            known = next(a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
            raise InputTrouble(f"unknown command {unknown[1]!r}{nearest(unknown[1], known)}")
        raise InputTrouble(f"{message.removeprefix('argument ')}; see: {self.prog} --help")


def run(arguments: Sequence[str], begun: float | None = None) -> int:
    """One command; returns the exit code."""
    begun = process_start(time.monotonic() if begun is None else begun)
    as_json = "--json" in arguments
    try:
        plain, plugged = separated(arguments)
        options, rest = parser().parse_known_args(plain)
        rest += plugged
        if rest and not (options.command in ("train", "probe", "twins") or getattr(options, "what", None) == "gradient"):
            raise InputTrouble(f"unknown option {rest[0]}{nearest(rest[0].partition('=')[0], flags(options.command))}")
        return int(options.go(options, rest, begun))
    except Trouble as trouble:
        return fail(trouble, trouble.code, as_json, "--debug" in arguments)
    except KeyboardInterrupt:
        return fail("stopped", 130, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return fail("memory is exhausted; give a smaller --batch or --memory", 5, as_json)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}; check disk and permissions", 5, as_json, "--debug" in arguments)
    except Exception as error:
        if "--debug" in arguments:
            raise
        return fail(f"internal error: {type(error).__name__}: {error}; run again with --debug and report it", 1, as_json)


def fail(trouble: object, code: int, as_json: bool, debug: bool = False) -> int:
    """Say what went wrong in one line on stderr (and as JSON on stdout), return the code."""
    if debug:
        import traceback

        traceback.print_exc()
    line = printable(trouble, 2000)
    print(f"gradlearn: error: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": line, "code": code}))
    return code


def process_start(now: float) -> float:
    """When this process began, by the clock of time.monotonic: `--time` counts from there, the interpreter's start included."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        age = up - ticks / os.sysconf("SC_CLK_TCK")
        return time.monotonic() - age if 0.0 <= age < 3600.0 else now
    except (OSError, ValueError, IndexError):
        return now


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = Parser(prog="gradlearn", description="Learning by gradient descent, with nothing tuned by hand.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"gradlearn {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, go: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(go=go)
        sub.add_argument("--json", action="store_true", help="print one JSON document on stdout, nothing else")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    for name, go, text in (
        ("train", act.train, "train a model and say what happened"),
        ("probe", act.probe, "which learning rates are too low, good, too high for it; --time: what that may take"),
        ("twins", act.twins, "the same training too fast, right, too slow, and by heart: one page; --time: of all together"),
    ):
        sub = command(name, go, text)
        _train_options(sub)
        if name != "train":
            what = (
                ("--picture", "FILE.svg", "the band as a picture")
                if name == "probe"
                else ("--page", "FILE.html", "default: RUNS/twins.html")
            )
            sub.add_argument(what[0], type=Path, metavar=what[1], help=what[2])
        sub.set_defaults(flags=[o for a in sub._actions for o in a.option_strings if o.startswith("--")])
    sub = command("predict", act.predict, "classes and probabilities of picture files; boxes, of a detector")
    sub.add_argument("run", type=Path, help="folder of a run")
    sub.add_argument("paths", type=Path, nargs="+", metavar="FILE|DIR")
    sub.add_argument("--draw", type=Path, metavar="DIR", help="of a detector: write the pictures with their boxes there")
    sub.add_argument("--coco", type=Path, metavar="FILE.json", help="of a detector: write what it finds as COCO JSON")
    sub.add_argument("--score", type=share, metavar="S", help="of a detector: tell boxes from this score on (default: its own)")
    sub = command("evaluate", act.evaluate, "score a trained model on other data with labels")
    sub.add_argument("run", type=Path, help="folder of a run")
    sub.add_argument("data", type=Path, help="data with labels: its test part if it has one, else all of it")
    _export_options(command("export", act.export, "a trained model as a file that runs without gradlearn, with its card"))
    command("compare", act.compare, "runs side by side").add_argument("runs", type=Path, nargs="+", metavar="RUN")
    command("report", act.report, "write a run's report.html again").add_argument("run", type=Path)
    command("explain", act.explain, "a run in words: what happened, how sure, what was done, what to try").add_argument(
        "run", type=Path
    )
    command("resume", act.resume, "go on with a run that was stopped").add_argument("run", type=Path)
    command("list", act.list_plugins, "what there is: tasks, updates, losses, ...").add_argument("kind", nargs="?", metavar="KIND")
    _convert_options(command("convert", act.convert, "pictures with boxes from one form into another: VOC, COCO, YOLO"))
    sub = command("check", act.check, "is this machine set up; or: check gradient MODULE:FUNCTION, are two gradients the same")
    _check_options(sub)
    _minimize_options(command("minimize", act.minimize, "the lowest value of a function, and whether it is a minimum"))
    return top


def _train_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("task", help="what to train: " + ", ".join(find.names("tasks")))
    sub.add_argument(
        "path",
        type=Path,
        nargs="?",
        help="class folders, an IDX folder, image Parquet (default: digits); of detect: VOC, COCO, YOLO",
    )
    _data_options(sub)
    length = sub.add_argument_group("length (default: the plan's choice)")
    length.add_argument("--time", help="60s, 5m, 2h, from the start of the command to its end")
    length.add_argument("--epochs", type=positive)
    length.add_argument("--steps", type=whole)
    _equation_options(sub)
    _augmentation_options(sub)
    tune = sub.add_argument_group("fine-tuning")
    tune.add_argument("--from", metavar="RUN|FILE", help="weights to begin with: a run of yours, or a safetensors file")
    tune.add_argument("--head-first", type=share, help="share of the steps in which only what is new moves")
    tune.add_argument("--first-rate", type=positive, help="rate of the first layer, in units of the last layer's; at most 1")
    run = sub.add_argument_group("run")
    run.add_argument("--seed", type=int)
    run.add_argument("--name", help="of the run folder; default images-001, images-002, ...")
    run.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders are made")
    run.add_argument("--device", choices=["cpu", "cuda"])
    run.add_argument("--compile", choices=["auto", "on", "off"], help="the step as one compiled program; auto: where it pays")
    run.add_argument("--threads", type=whole, help="of the processor; default: by the size of a step")
    run.add_argument("--save-every", type=whole, help="steps between two checkpoints; default: a minute")
    run.add_argument("--config", type=Path, help="a run.toml: the same choices again; options given here win")


def _data_options(sub: argparse.ArgumentParser) -> None:
    data = sub.add_argument_group("data")
    data.add_argument("--valid", type=share_or_path, help="validation data: a path, or a share such as 0.1")
    data.add_argument("--test", type=share_or_path, help="test data: a path, or a share such as 0.1")
    data.add_argument("--size", type=whole, help="side in pixels that all pictures are brought to")
    data.add_argument("--skip-bad", type=share, help="leave out unreadable pictures, up to this share (1%%)")
    data.add_argument("--max-pixels", type=int, help="largest picture that is decoded")
    data.add_argument("--memory", type=bytes_of, help="keep decoded pictures in memory up to so much (500MB)")
    data.add_argument("--allow-empty-class", action="store_true", default=None)
    data.add_argument("--clip-boxes", action="store_true", default=None, help="cut boxes that reach out of their pictures to them")
    data.add_argument("--images", type=Path, metavar="DIR", help="where the pictures of a COCO file or a VOC folder are")
    data.add_argument("--follow-links-to", type=Path, help="a folder outside of the data that links may lead to")


def _equation_options(sub: argparse.ArgumentParser) -> None:
    plan = sub.add_argument_group("the equation (default: the plan's choice; options of a plug-in as --adamw.weight_decay 0.1)")
    plan.add_argument("--model", help=_names("models"))
    plan.add_argument("--batch", type=batch, help="examples a step, or full")
    plan.add_argument("--lr", type=positive, help="peak learning rate")
    for kind in ("update", "gradient", "average", "batches"):
        plan.add_argument(f"--{kind}", help=_names(kind))
    plan.add_argument("--rate", type=lambda text: text.split(","), help="factors, such as warmup,linear; known: " + _names("rate"))
    plan.add_argument(
        "--penalty", type=lambda text: text.split(","), help="added to the loss, such as l1,spectral; known: " + _penalties()
    )
    plan.add_argument("--grow", type=yes_or_no, help="a larger batch where the gradient is mostly noise, yes or no")
    plan.add_argument("--clip", type=positive, help="bound on the norm of the gradient")
    plan.add_argument("--no-act", action="store_true", help="watch only; the first non-finite step ends the run")
    plan.add_argument(
        "--without", type=lambda text: text.split(","), help="checks and remedies to leave out, such as rewind,crawling"
    )


def _augmentation_options(sub: argparse.ArgumentParser) -> None:
    augment = sub.add_argument_group("what pictures are changed by (default: the plan's choice)")
    augment.add_argument("--shift", type=int, help="pixels")
    augment.add_argument("--mirror", type=yes_or_no, help="left-right mirror images, yes or no")
    augment.add_argument("--crop", type=amount, help="a random crop, which leaves out up to this share of the area (0.65)")
    augment.add_argument("--rotate", type=amount, help="degrees each way (15)")
    augment.add_argument("--trivial", type=yes_or_no, help="one random change for each picture (TrivialAugment), yes or no")
    augment.add_argument("--colour", type=amount, help="brightness, contrast and saturation within 1 +- this (0.4)")
    augment.add_argument("--cutout", type=int, help="side in pixels of a covered square")
    augment.add_argument("--mixup", type=amount, help="alpha of two pictures mixed (0.2)")
    augment.add_argument("--cutmix", type=amount, help="alpha of a box of another picture (1.0)")
    augment.add_argument("--progressive", type=yes_or_no, help="smaller pictures in the first part of the run, yes or no")
    augment.add_argument("--warp", type=float, help="how far pictures are turned, bent and lit; 1 is usual for few")


def _export_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", type=Path, help="folder of a run")
    sub.add_argument(
        "--to", required=True, choices=["onnx", "torch"], help="an ONNX file; or a folder of plain PyTorch with weights"
    )
    sub.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/export/<name of the run>.onnx, RUN/export/torch")
    sub.add_argument("--opset", type=whole, metavar="N", help="of ONNX, 11 to 20; default: 17")
    sub.add_argument("--batch", type=dynamic_or_whole, help="examples at once: dynamic (default), or a number")


def _check_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", nargs="?", choices=["gradient"], help="default: the machine")
    sub.add_argument("model", nargs="?", metavar="MODULE:FUNCTION", help="a function that returns (model, (x, y), loss)")
    sub.add_argument("--first", default="backprop", help="known: " + _names("gradient"))
    sub.add_argument("--second", default="finite_difference")
    sub.add_argument("--tol", type=positive, default=1e-5, help="largest relative error of a tensor")
    sub.add_argument("--examples", type=whole, default=32, help="of the data")
    sub.add_argument("--draws", type=whole, default=300, help="of a random gradient")
    sub.add_argument("--seed", type=int, default=0)


def _convert_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("path", type=Path, help="a VOC or YOLO folder, a data.yaml, a COCO folder or JSON file; which, is found out")
    sub.add_argument("out", type=Path, metavar="OUT", help="a new folder: it is there whole at the end, or not at all")
    sub.add_argument("--to", required=True, choices=["voc", "coco", "yolo"])
    sub.add_argument("--link", action="store_true", help="pictures as hard links instead of copies")
    sub.add_argument("--clip-boxes", action="store_true", help="cut boxes that reach out of their pictures to them")
    sub.add_argument("--skip-bad", type=share, default=0.0, help="leave out unreadable pictures and faulty boxes, up to this share")
    sub.add_argument("--images", type=Path, metavar="DIR", help="where the pictures of a COCO file or a VOC folder are")
    sub.add_argument("--follow-links-to", type=Path, metavar="DIR", help="a folder outside of the data that links may lead to")


def _minimize_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "function", metavar="NAME|MODULE:FUNCTION", help="a known function (rastrigin, rosenbrock, ...), or one of your own"
    )
    sub.add_argument("--dim", type=whole, help="how many numbers it takes")
    sub.add_argument("--start", help="numbers with commas, or one for all; default: drawn within the bounds")
    sub.add_argument("--bounds", help="low,high; or one pair for each: -5,5;0,1")
    sub.add_argument("--time", help="search for so long: 2s, 1m")
    sub.add_argument("--max-evals", type=whole, help="evaluations at most")
    sub.add_argument("--target", type=float, help="a value at which to stop")
    sub.add_argument("--tol", type=positive, help="largest entry of the gradient at the end of a descent")
    sub.add_argument("--search", help="auto, none, or strategies with commas; known: " + _names("search"))
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument(
        "--picture", type=Path, metavar="FILE.svg", help="contours and path in two dimensions, else value against evaluations"
    )


def _names(kind: str) -> str:
    return ", ".join(find.names(kind))


def _penalties() -> str:
    return ", ".join(name for name in find.names("objective") if find.is_penalty(name))


def flags(command: str) -> list[str]:
    """All options of a command."""
    subs = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return [o for a in subs.choices[command]._actions for o in a.option_strings if o.startswith("--")]
