"""The command line: arguments in, one line or one JSON document out. Thin: every command is a call into the rest.

    gradlearn train images [PATH] [--time 60s]     predict, evaluate, compare, report, resume, list, check

Nothing heavy is imported before a command needs it. With --json stdout holds one JSON document and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gradlearn import __version__, find
from gradlearn.errors import InputTrouble, Trouble, nearest, printable
from gradlearn.plan import seconds_of


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
        if options.command != "train" and rest:
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

    _train_options(command("train", train, "train a model and say what happened"))
    sub = command("predict", predict, "classes and probabilities of picture files")
    sub.add_argument("run", type=Path, help="folder of a run")
    sub.add_argument("paths", type=Path, nargs="+", metavar="FILE|DIR")
    sub = command("evaluate", evaluate, "score a trained model on other data with labels")
    sub.add_argument("run", type=Path, help="folder of a run")
    sub.add_argument("data", type=Path, help="data with labels: its test part if it has one, else all of it")
    command("compare", compare, "runs side by side").add_argument("runs", type=Path, nargs="+", metavar="RUN")
    command("report", report, "write a run's report.html again").add_argument("run", type=Path)
    command("resume", resume, "go on with a run that was stopped").add_argument("run", type=Path)
    command("list", list_plugins, "what there is: tasks, updates, losses, ...").add_argument("kind", nargs="?", metavar="KIND")
    command("check", check, "is this machine set up, what is installed, how fast")
    return top


def _train_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("task", help="what to train: " + ", ".join(find.names("tasks")))
    sub.add_argument("path", type=Path, nargs="?", help="a folder of class folders, an IDX folder, image Parquet; default: digits")
    data = sub.add_argument_group("data")
    data.add_argument("--valid", type=share_or_path, help="validation data: a path, or a share such as 0.1")
    data.add_argument("--test", type=share_or_path, help="test data: a path, or a share such as 0.1")
    data.add_argument("--size", type=int, help="side in pixels that all pictures are brought to")
    data.add_argument("--skip-bad", type=share, help="leave out unreadable pictures, up to this share (1%%)")
    data.add_argument("--max-pixels", type=int, help="largest picture that is decoded")
    data.add_argument("--memory", type=bytes_of, help="keep decoded pictures in memory up to so much (500MB)")
    data.add_argument("--allow-empty-class", action="store_true", default=None)
    data.add_argument("--follow-links-to", type=Path, help="a folder outside of the data that links may lead to")
    length = sub.add_argument_group("length (default: the plan's choice)")
    length.add_argument("--time", help="60s, 5m, 2h, from the start of the command to its end")
    length.add_argument("--epochs", type=positive)
    length.add_argument("--steps", type=int)
    plan = sub.add_argument_group("the equation (default: the plan's choice; options of a plug-in as --adamw.weight_decay 0.1)")
    plan.add_argument("--model", help=_names("models"))
    plan.add_argument("--batch", type=batch, help="examples a step, or full")
    plan.add_argument("--lr", type=positive, help="peak learning rate")
    for kind in ("update", "gradient", "average"):
        plan.add_argument(f"--{kind}", help=_names(kind))
    plan.add_argument("--rate", type=lambda text: text.split(","), help="factors, such as warmup,linear; known: " + _names("rate"))
    plan.add_argument("--clip", type=positive, help="bound on the norm of the gradient")
    plan.add_argument("--shift", type=int, help="augmentation: pixels")
    plan.add_argument("--mirror", type=yes_or_no, help="augmentation: left-right mirror images, yes or no")
    plan.add_argument("--no-act", action="store_true", help="watch only; the first non-finite step ends the run")
    run = sub.add_argument_group("run")
    run.add_argument("--seed", type=int)
    run.add_argument("--name", help="of the run folder; default images-001, images-002, ...")
    run.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders are made")
    run.add_argument("--device", choices=["cpu", "cuda"])
    run.add_argument("--threads", type=int, help="of the processor; default: by the size of a step")
    run.add_argument("--save-every", type=int, help="steps between two checkpoints; default: a minute")
    run.add_argument("--config", type=Path, help="a run.toml: the same choices again; options given here win")


def _names(kind: str) -> str:
    return ", ".join(find.names(kind))


def flags(command: str) -> list[str]:
    """All options of a command."""
    subs = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return [o for a in subs.choices[command]._actions for o in a.option_strings if o.startswith("--")]


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} must be a finite number above 0")
    return value


def share(text: str) -> float:
    """1% or 0.01."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give such as 1% or 0.01") from None


def share_or_path(text: str) -> float | Path:
    """A number is a share, anything else a path."""
    try:
        return share(text)
    except argparse.ArgumentTypeError:
        return Path(text)


def bytes_of(text: str) -> int:
    """500MB, 2GB, 1000000."""
    for unit, size in (("KB", 10**3), ("MB", 10**6), ("GB", 10**9), ("TB", 10**12), ("B", 1), ("", 1)):
        if text.upper().endswith(unit):
            try:
                value = float(text[: len(text) - len(unit)]) * size
            except ValueError:
                break
            if value >= 1:
                return int(value)
            break
    raise argparse.ArgumentTypeError(f"{text!r} is no size; give such as 500MB")


def batch(text: str) -> int | str:
    """A number, full, or auto."""
    if text in ("full", "auto"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of examples, full or auto") from None


def yes_or_no(text: str) -> bool:
    """yes, no, true, false."""
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r}: expected yes or no")
    return known[text.lower()]


def separated(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What argparse knows, and the options of plug-ins with their values: argparse would take such a value for a path."""
    plain: list[str] = []
    plugged: list[str] = []
    items = iter(arguments)
    for item in items:
        name, equals, _ = item.partition("=")
        if not (item.startswith("--") and "." in name):
            plain.append(item)
            continue
        plugged.append(item)
        if not equals:
            plugged += [value for value in (next(items, None),) if value is not None]
    return plain, plugged


def plugin_options(rest: Sequence[str]) -> dict[str, Any]:
    """--adamw.weight_decay 0.1 --ema.decay=0.99 as {"adamw.weight_decay": 0.1, ...}; checked against the plan later."""
    options: dict[str, Any] = {}
    items = iter(rest)
    for item in items:
        if not item.startswith("--"):
            raise InputTrouble(f"unexpected argument {item!r}; see: gradlearn train --help")
        name, equals, text = item[2:].partition("=")
        if "." not in name:
            raise InputTrouble(f"unknown option --{name}{nearest('--' + name, flags('train'))}")
        value = text if equals else next(items, None)
        if value is None:
            raise InputTrouble(f"--{name}: expected a value")
        options[name.replace("-", "_")] = typed(name.replace("-", "_"), value)
    return options


def typed(name: str, text: str) -> Any:
    """The value of a plug-in's option, in the type of its default."""
    plugin, _, option = name.partition(".")
    default = next(
        (
            o.default
            for kind in find.KINDS
            if plugin in find.names(kind)
            for o in find.describe(kind, plugin).options
            if o.name == option
        ),
        None,
    )
    try:
        if isinstance(default, bool):
            return yes_or_no(text)
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            value = float(text)
            if not math.isfinite(value):
                raise ValueError
            return value
        if isinstance(default, tuple):
            return [float(part) for part in text.strip("()[]").split(",")]
    except (ValueError, argparse.ArgumentTypeError):
        raise InputTrouble(f"--{name} {text}: expected a value like {default!r}") from None
    return text


READING = ("valid", "test", "size", "skip_bad", "max_pixels", "memory", "allow_empty_class", "follow_links_to")
LENGTH = ("time", "epochs", "steps")
EQUATION = ("model", "batch", "lr", "update", "gradient", "average", "rate", "clip", "shift", "mirror")
PLANNED = (*LENGTH, *EQUATION, "seed", "device", "threads", "save_every")


def train(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn train TASK [PATH]`."""
    find.describe("tasks", options.task)
    user = {k: getattr(options, k) for k in PLANNED if getattr(options, k) is not None} | plugin_options(rest)
    if options.no_act:
        user["act"] = False
    if sum(k in user for k in ("time", "epochs", "steps")) > 1:
        raise InputTrouble("--time, --epochs and --steps exclude each other; give one")
    if "time" in user:
        seconds_of(user["time"])
    reading = {k: getattr(options, k) for k in READING}
    path = options.path
    if options.config is not None:
        user, path = _configured(options.config, user, path)
    from gradlearn.live import Live
    from gradlearn.session import begin

    with Live(quiet=options.json) as live:
        summary = begin(path, user, reading, options.runs, options.name, begun, live.show, live.say)
    return tell(summary, options.json)


def _configured(config: Path, user: dict[str, Any], path: Path | None) -> tuple[dict[str, Any], Path | None]:
    """The choices of an earlier run.toml, less those that are given now and those that follow from others."""
    from gradlearn.record.settings import load

    saved = load(config)
    length = {"time", "epochs", "steps"}
    dropped = length | {"looks", "score_every", "ema.every"} if length & user.keys() else {"time", "epochs"}
    choices = {k: c["value"] for k, c in saved.get("choice", {}).items() if k not in dropped}
    data = saved.get("data", {})
    if path is None and data.get("kind") not in (None, "digits"):
        path = Path(data["source"])
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


def evaluate(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn evaluate RUN DATA`."""
    from gradlearn.evaluation import evaluate as on

    result = on(options.run, options.data)
    if options.json:
        print(json.dumps(result))
        return 0
    interval = " to ".join(f"{end:.2%}" for end in result["interval"])
    print(f"accuracy {result['score']['value']:.2%} on {result['examples']:,} pictures (95 % interval {interval})")
    for row in result["classes"]:
        print(f"  {printable(row['class'], 30):30} {row['right']:>6} of {row['examples']:<6} right")
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
                print(f"  {'':16}   --{f.name}.{o.name} {o.default!r}  {o.help}")
    return 0


def check(options: argparse.Namespace, rest: Sequence[str], begun: float) -> int:
    """`gradlearn check`."""
    from gradlearn.setup_check import inspect

    rows = inspect()
    good = all(row["ok"] for row in rows if row["needed"])
    if options.json:
        print(json.dumps({"ok": good, "checks": rows}))
    else:
        for row in rows:
            print(f"{'ok ' if row['ok'] else '-- ' if not row['needed'] else 'NO '} {row['what']:24} {row['found']}")
    return 0 if good else 2
