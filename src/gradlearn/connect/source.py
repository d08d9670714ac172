"""A network as a Python file of its own: plain PyTorch, without gradlearn.

    text = source(module_of_the_network, [Answers], "ConvNet((8, 8, 1), 10, width=32)", ...)

The classes are those that it was trained with, word for word; beside them a reader of safetensors and `load()`. torch's own program
files (.pt2, by `torch.export`) are not written: each holds a pickle of its example inputs, and is read by the torch that wrote it
or a later one. This is read by any, and by a person. Use it to go on in PyTorch; for other runtimes there is `onnx.py`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import TypeGuard

from gradlearn import errors
from gradlearn.errors import InputTrouble

HEAD = '''"""{title}: a trained network in plain PyTorch, its weights beside it. Written by gradlearn; needs torch, nothing else.

    network = load()
    {use}
{doc}"""

from __future__ import annotations

import json
from pathlib import Path
'''

TAIL = '''

HERE = Path(__file__).resolve().parent
KINDS = {{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}}
KINDS |= {{"I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}}


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file: a length, a header in JSON, then the numbers."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    raw, found = torch.frombuffer(data, dtype=torch.uint8), {{}}
    for name, entry in header.items():
        first, last = (start + at for at in entry["data_offsets"])
        found[name] = raw[first:last].clone().view(KINDS[entry["dtype"]]).reshape(entry["shape"])
    return found


def load(folder: Path = HERE) -> nn.Module:
    """The trained network in evaluation mode; `network.card` is what card.json says."""
    network = {make}
    network.load_state_dict(read_tensors(folder / "model.safetensors"))
    whole = {wrap}
    whole.card = json.loads((folder / "card.json").read_text("utf-8"))
    return whole.eval()
'''


def source(network: ModuleType, around: Sequence[type], make: str, wrap: str, title: str, use: str) -> str:
    """The text of the file.

    Args:
        network: the module with the network's class; of ours it may import `errors` alone. Functions that import more are left out.
        around: classes that make its outputs into answers.
        make: the expression that makes the network.
        wrap: the expression that makes the answers of `network`.
        title, use: what it is, and how it is called.

    Raises:
        InputTrouble: the network's file needs more of gradlearn than its errors.
    """
    text, doc = _alone(network)
    parts = [HEAD.format(title=title, use=use, doc=f"\n{doc}\n" if doc else "") + text]
    parts += [textwrap.dedent(inspect.getsource(kind)).rstrip("\n") for kind in around]
    return "\n\n\n".join(parts) + "\n" + TAIL.format(make=make, wrap=wrap)


def _alone(module: ModuleType) -> tuple[str, str]:
    """A module's text without what is ours, and its docstring."""
    whole = inspect.getsource(module)
    tree, lines = ast.parse(whole), whole.splitlines()
    needed: list[str] = []
    nodes = [*tree.body, *(node for node in ast.walk(tree) if _for_training(node))]
    for node in sorted(nodes, key=lambda node: node.lineno, reverse=True):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradlearn"):
            if node.module != "gradlearn.errors":
                raise InputTrouble(f"export: {module.__name__} needs {node.module}; this network goes --to onnx alone")
            needed += [alias.name for alias in node.names]
        elif not (_left_out(node, tree) or _for_training(node)):
            continue
        del lines[node.lineno - 1 : node.end_lineno]
    for name in needed:
        kind = getattr(errors, name)
        if not (inspect.isclass(kind) and issubclass(kind, errors.Trouble)):
            raise InputTrouble(f"export: {module.__name__} needs {name!r} of gradlearn; this network goes --to onnx alone")
    own = [f'class {name}(ValueError):\n    """What was given cannot be used."""' for name in sorted(needed)]
    body = "\n".join(lines).strip("\n")
    first = next((k for k, line in enumerate(body.splitlines()) if line.startswith(("class ", "def ", "@"))), 0)
    top, rest = "\n".join(body.splitlines()[:first]).rstrip("\n"), "\n".join(body.splitlines()[first:])
    return "\n\n\n".join(filter(None, (top, *own, rest))), ast.get_docstring(tree) or ""


def _for_training(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    """A function that imports of ours when it is called: what measures pictures before a training."""
    inside = ast.walk(node) if isinstance(node, ast.FunctionDef) else ()
    return any(isinstance(n, ast.ImportFrom) and (n.module or "").startswith("gradlearn") for n in inside)


def _left_out(node: ast.stmt, tree: ast.Module) -> bool:
    """Docstring, what the file turns on, and its list of public names."""
    if node is tree.body[0] and isinstance(node, ast.Expr):
        return True
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return True
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
