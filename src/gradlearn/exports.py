"""A trained model for those who have no gradlearn: an ONNX file, or a folder of plain PyTorch, each with its model card.

    to_onnx(run)  ->  NAME.onnx, NAME.md          to_torch(run)  ->  model.py, model.safetensors, card.json, README.md

What was written is read back by who will read it (ONNX Runtime; a fresh Python without gradlearn) and compared with the model on
validation examples before it gets its name. What goes in and comes out the task says: `interface` and `Answers` in its file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlearn import __version__, find
from gradlearn.connect import onnx, source
from gradlearn.errors import InputTrouble, NumericsTrouble, ResourceTrouble, printable
from gradlearn.loaded import Loaded, load
from gradlearn.record import disk
from gradlearn.record.filling import filling
from gradlearn.record.folder import open_run
from gradlearn.record.tensors import Packed
from gradlearn.record.weights import read_weights, write_beside
from gradlearn.report import card as cards
from gradlearn.report.folder import read

EXAMPLES = 32  # of the validation data that an export is checked on; they are kept beside the model
MOST = 1 << 22  # bytes of them: large pictures are fewer
TOLERANCE = 1e-4  # of ONNX: sums are taken in another order there
CLOSE = 1e-6  # of the same operations in the same library
FILES = ("model.py", "model.safetensors", "card.json", "README.md", "check.safetensors")
TRY = """
import sys
sys.modules["gradlearn"] = None
sys.path.insert(0, sys.argv[1])
import torch, model
torch.set_num_threads(int(sys.argv[2]))
given = model.read_tensors(model.HERE / "check.safetensors")
with torch.no_grad():
    found = model.load()(given.pop("x"))
found = found if isinstance(found, tuple) else (found,)
gaps = [((a - given[str(k)]).abs() / given[str(k)].abs().clamp_min(1.0)).max().item() for k, a in enumerate(found)]
print(max(gaps))
"""


def describe_model(task: Any, folder: Path, valid: Any) -> None:
    """Leave beside a run's model its card, for a person, and a few validation examples that an export can be checked on."""
    about = _about(task.card())
    use = f'import gradlearn\n\nmodel = gradlearn.load("{folder}")\nprint(model.classes)  # model.predict(pixels): probabilities'
    write_beside(folder, "README.md", cards.text(read(folder), about, f"Model card: {folder.name}", use).encode("utf-8"))
    if valid is not None and len(valid):
        one = valid(torch.zeros(1, dtype=torch.int64), -1).x
        most = max(MOST // max(one.nbytes, 1), 2) if isinstance(one, Tensor) else EXAMPLES
        x = valid(torch.linspace(0, len(valid) - 1, min(len(valid), EXAMPLES, most)).long(), -1).x
        if isinstance(x, Tensor):
            write_beside(folder, "examples.safetensors", _packed({"x": x}))


def to_onnx(run: Path, out: Path | None = None, opset: int | None = None, batch: int | None = None) -> dict[str, Any]:
    """The model of a run as an ONNX file, its card beside it.

    Returns:
        {"run", "file", "card", "checked": examples, "difference": the largest}

    Raises:
        InputTrouble: no such run, a task whose models nobody else can run, no onnx. NumericsTrouble: ONNX Runtime gives others.
    """
    run, loaded, about = _opened(run)
    out = run / "export" / f"{run.resolve().name}.onnx" if out is None else out
    name, outputs = about["input"]["name"], tuple(about["outputs"])
    use = about["use"]["onnx"].replace("FILE", json.dumps(out.name))
    text = cards.text(read(run), about, f"Model card: {out.name}", use)
    told = {k: v for k, v in about.items() if k not in ("network", "answers", "use")} | {"made_by": f"gradlearn {__version__}"}
    module, x = _answers(loaded, about), _examples(run)
    done = export(module, out, x, name=name, outputs=outputs, about=told, opset=opset, batch=batch)
    card = out.with_suffix(".md")
    _write(card, text.encode("utf-8"))
    return {"run": str(run), "file": str(out), "card": str(card)} | done


def export(
    model: nn.Module,
    path: str | Path,
    example: Tensor,
    *,
    name: str = "x",
    outputs: Sequence[str] = ("output",),
    about: Mapping[str, Any] | None = None,
    opset: int | None = None,
    batch: int | None = None,
) -> dict[str, Any]:
    """Write any module as an ONNX file; it gets its name once ONNX Runtime gives what the module gives, to 1e-4.

    Args:
        model: takes one tensor (n, ...), gives a tensor or a tuple of them; it is exported as it is in evaluation mode.
        path: of the file; one that is there is replaced.
        example: (n, ...), what it takes; all of them are compared.
        name: of the input.
        outputs: a name for each output.
        about: what a reader must know, JSON values by name, kept in the metadata.
        opset: of ONNX, 11 to 20; default 17.
        batch: examples that the file takes at once; None: any number.

    Returns:
        {"checked": examples compared, "difference": the largest, relative where an output is above 1}

    Raises:
        InputTrouble: no onnx here, or the module does what ONNX has no word for. NumericsTrouble: the two differ.
    """
    path = Path(path)
    modes = [(m, m.training) for m in model.modules()]
    try:
        data = onnx.write(model, example, name, outputs, about or {}, onnx.OPSET if opset is None else opset, batch)
        gap = onnx.disagreement(data, model, example)
    finally:
        for module, mode in modes:
            module.training = mode
    _agreed(path, gap, TOLERANCE, len(example), "ONNX Runtime", "; try another --opset")
    _write(path, data)
    return {"checked": len(example), "difference": gap}


def to_torch(run: Path, out: Path | None = None) -> dict[str, Any]:
    """The model of a run as a folder of plain PyTorch. Returns and raises as `to_onnx`.

    Raises:
        InputTrouble: also where the folder is there and holds something else.
    """
    run, loaded, about = _opened(run)
    out = run / "export" / "torch" if out is None else out
    if out.exists() and not (out.is_dir() and set(os.listdir(out)) <= {*FILES}):
        raise InputTrouble(f"{printable(out)}: is there already, and no export; give another --out")
    module, x, network = _answers(loaded, about), _examples(run), loaded.card["model"]
    kind = find.describe("models", network).public
    words = [*map(repr, about["network"]["arguments"]), *(f"{k}={v!r}" for k, v in about["network"]["options"].items())]
    around = [type(module)]
    wrap = f"{around[0].__name__}({', '.join(['network', *(f'{k}={v!r}' for k, v in about['answers'].items())])})"
    title, use = f"{network} of {run.resolve().name}", f"{', '.join(about['outputs'])} = network({about['input']['name']})"
    text = source.source(find.module("models", network), around, f"{kind}({', '.join(words)})", wrap, title, use)
    told = {k: v for k, v in about.items() if k not in ("answers", "use")} | {"made_by": f"gradlearn {__version__}"}
    card = cards.text(read(run), about, f"Model card: {run.resolve().name}", about["use"]["torch"])
    with torch.no_grad():
        given = module(x)
    expected = {str(k): y for k, y in enumerate(given if isinstance(given, tuple) else (given,))}
    files = {
        "model.py": text.encode("utf-8"),
        "model.safetensors": _packed(loaded.model.state_dict()),
        "card.json": json.dumps(told, indent=1, ensure_ascii=False).encode("utf-8"),
        "README.md": card.encode("utf-8"),
    }
    gap = _fill(out, files, _packed({"x": x.contiguous()} | expected), len(x))
    return {"run": str(run), "file": str(out), "card": str(out / "README.md"), "checked": len(x), "difference": gap}


def _fill(out: Path, files: Mapping[str, bytes], check: bytes, n: int) -> float:
    """Write the folder under a spare name, try it on n examples in a fresh Python, name it. Returns the largest difference."""
    tmp = disk.spare(out.parent, "tmp", out.name)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with filling(tmp) as new:
            for name, data in files.items():
                new(name, [data])
            new("check.safetensors", [check])
        gap = _tried(tmp)
        _agreed(out, gap, CLOSE, n, "the file by itself", "")
        os.unlink(tmp / "check.safetensors")
        disk.put(tmp, out)
    except OSError as error:
        raise ResourceTrouble(disk.refusal(out, error)) from error
    finally:
        disk.remove(tmp)
    return gap


def _tried(folder: Path) -> float:
    """The largest difference that a fresh Python without gradlearn finds."""
    words = [sys.executable, "-I", "-B", "-c", TRY, str(folder.resolve()), str(torch.get_num_threads())]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        why = printable((done.stderr.strip().splitlines() or ["no word"])[-1], 200)
        raise InputTrouble(f"export: the network's own file does not load without gradlearn ({why}); use --to onnx")
    return float(done.stdout)


def _agreed(path: Path, gap: float, most: float, n: int, who: str, act: str) -> None:
    if not gap <= most:
        what = f"{who} and the model differ by {gap:.2g} on {n} examples, more than {most:g}"
        raise NumericsTrouble(f"{printable(path)}: {what}; nothing was written{act}")


def _opened(run: Path) -> tuple[Path, Loaded, dict[str, Any]]:
    run = open_run(run)
    loaded = load(run)
    about = _about(loaded.card)
    if not about:
        what = f"a run of {loaded.card.get('task')!r} does not say what goes into its model"
        raise InputTrouble(f"{printable(run)}: {what}; export it from Python with gradlearn.export(model, path, example)")
    return run, loaded, about


def _about(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the card's task says of its models; empty where it says nothing."""
    task = card.get("task")
    module = find.module("tasks", task) if task in find.names("tasks") else None
    return module.interface(card) if module is not None and hasattr(module, "interface") else {}


def _answers(loaded: Loaded, about: Mapping[str, Any]) -> nn.Module:
    module = find.module("tasks", loaded.card["task"])
    network = loaded.model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    if hasattr(network, "precision"):  # half precision is this machine's choice; whoever reads the file may have none
        network.precision = "float32"  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return module.Answers(network, **about["answers"]).eval()


def _examples(run: Path) -> Tensor:
    path = run / "model" / "examples.safetensors"
    if not path.is_file():
        raise InputTrouble(f"{printable(run)}: has no examples to check an export on; train it with this version")
    return read_weights(path)["x"]


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return b"".join(bytes(chunk) for chunk in Packed(tensors).chunks())


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.replace(path, data)
    except OSError as error:
        raise ResourceTrouble(disk.refusal(path, error)) from error
