"""Who may import whom, read from the source text; and what is not imported at all before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradlearn
from gradlearn import find

ROOT = Path(gradlearn.__file__).parent
PLUGINS = ("batches", "objective", "gradient", "update", "rate", "average", "watch", "remedy", "search")
SHARED = {"symbols", "chance", "theta", "curvature", "errors"}
SHARED_BY = {"update": {"optimizer", "sweep", "matrix", "polar", "around"}, "watch": {"peek", "closed_form", "preflight"}}
HEAVY = ("torch", "numpy", "rich", "PIL", "pyarrow", "sklearn", "safetensors", "onnx", "onnxruntime")


def modules(under: str = "") -> dict[str, Path]:
    """{"gradlearn.loop": path} of the whole package or one folder."""
    found = {}
    for path in sorted((ROOT / under).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(("gradlearn", *(p for p in parts if p != "__init__")))] = path
    return found


def for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(body: list[ast.stmt], inside: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run: at module level, or `inside` functions too; never those for type checkers."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif for_types_only(node):
            assert isinstance(node, ast.If)
            yield from statements(node.orelse, inside)
        elif inside or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, name, []), inside)
            for handler in getattr(node, "handlers", []):
                yield from statements(handler.body, inside)


def imports(path: Path, inside: bool = True) -> set[str]:
    """Full names of all modules that a file imports: `from gradlearn import chance` is gradlearn.chance."""
    known = modules()
    found = set()
    for node in statements(ast.parse(path.read_text()).body, inside):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        assert node.level == 0, f"{path}: imports are absolute"
        assert node.module is not None
        below = {f"{node.module}.{alias.name}" for alias in node.names}
        found |= {name for name in below if name in known} or {node.module}
    return found


def ours(names: set[str]) -> set[str]:
    """The gradlearn part: {"symbols", "record.log"}."""
    return {name.removeprefix("gradlearn.") for name in names if name.startswith("gradlearn.")}


def test_every_folder_is_walked():
    assert {f"gradlearn.{kind}" for kind in PLUGINS} <= modules().keys()
    assert imports(ROOT / "update" / "nadam.py") == {"__future__", "typing", "gradlearn.optimizer", "gradlearn.sweep"}


def test_imports_are_seen_wherever_they_run(tmp_path: Path):
    path = tmp_path / "some.py"
    path.write_text(
        "import torch.nn as nn\n"
        "from gradlearn import chance, __version__\n"
        "from gradlearn.record.log import read\n"
        "if TYPE_CHECKING:\n    import never\nelse:\n    import other\n"
        "try:\n    import a\nexcept ImportError:\n    import b\nfinally:\n    import c\n"
        "class K:\n    import d\n    def m(self):\n        with x:\n            import e\n"
        "def f():\n    from gradlearn.learn import fit\n"
    )
    everywhere = {"torch.nn", "gradlearn.chance", "gradlearn.record.log", "other", "a", "b", "c", "d"}
    assert imports(path, inside=False) == everywhere
    assert imports(path) == everywhere | {"e", "gradlearn.learn"}


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_plugin_imports_the_shared_modules_only(kind: str):
    allowed = SHARED | SHARED_BY.get(kind, set())
    for name, path in modules(kind).items():
        assert {module.partition(".")[0] for module in ours(imports(path))} <= allowed, name


def test_loop_and_step_know_no_plugin():
    for name in ("loop", "step"):
        folders = {module.partition(".")[0] for module in ours(imports(ROOT / f"{name}.py"))}
        assert not folders & {*PLUGINS, "tasks", "models", "record", "report", "data"}, name
    assert ours(imports(ROOT / "step.py")) == {"symbols", "theta"}


def test_symbols_imports_nothing_of_ours_and_nothing_heavy():
    assert {name.partition(".")[0] for name in imports(ROOT / "symbols.py")} <= set(sys.stdlib_module_names)


def test_a_foreign_loop_needs_none_of_our_loop():
    for name, path in modules("connect").items():
        if name.rpartition(".")[2] in ("onnx", "source"):  # a model on its way out: `exports.py` says which
            assert ours(imports(path)) <= {"errors"}, name
            continue
        known = ours(imports(path))
        assert not known & {"loop", "descent", "care", "run", "learn", "theta"}, name
        assert not {module.partition(".")[0] for module in known} & {*PLUGINS, "tasks", "models", "record"}, name


def test_models_know_nothing_of_training():
    for name, path in modules("models").items():
        found = imports(path)
        assert ours(found) <= {"errors", "pixels"}, name
        assert {n.partition(".")[0] for n in found} <= {*sys.stdlib_module_names, "torch", "gradlearn"}, name


def test_record_imports_no_torch_before_it_is_needed():
    for name, path in modules("record").items():
        assert not any(n.partition(".")[0] in ("torch", "safetensors") for n in imports(path, inside=False)), name


def test_report_never_imports_torch():
    for name, path in modules("report").items():
        found = imports(path)
        assert not any(n.partition(".")[0] == "torch" for n in found), name
        assert {n.partition(".")[0] for n in ours(found)} <= {"report", "record", "errors"}, name


def test_no_import_cycles_at_module_level():
    known = modules()
    graph = {name: {n for n in imports(path, inside=False) if n in known} for name, path in known.items()}
    doors = {
        name: {n for n in graph[name] if n.startswith(f"{name}.")} for name in graph
    }  # a package that hands on its own modules
    for name in graph:  # a module runs the packages above it first
        inside = {n for door in graph[name] if not name.startswith(f"{door}.") for n in doors[door]}
        graph[name] = (graph[name] - doors[name]) | inside | {p for p in (name.rpartition(".")[0],) if p in known}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for below in sorted(graph[name]):
                visit(below, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_heavy_is_imported_for_help_and_list():
    code = f"""
import contextlib, io, sys
def heavy(): return [m for m in {HEAVY!r} if m in sys.modules]
import gradlearn
said = [heavy()]
dir(gradlearn)
from gradlearn.cli import run
for arguments in (["list"], ["list", "update"], ["list", "--json"], ["--help"], ["train", "--help"], ["trian"], ["--version"]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try: run(arguments)
        except SystemExit: pass
    assert out.getvalue() or err.getvalue(), arguments
    said.append(heavy())
print(said)
"""
    assert python(code).strip() == str([[]] * 8)


def test_no_update_loads_the_compiler():
    code = f"""
import sys, torch
from gradlearn.find import find
from gradlearn.optimizer import pack, unpack
for name in {find.names("update")!r}:
    model = torch.nn.Linear(3, 2)
    update = find("update", name)(model.parameters(), lr=0.1)
    def closure():
        update.zero_grad()
        loss = model(torch.ones(4, 3)).square().sum()
        loss.backward()
        return loss.item()
    for _ in range(2):
        update.step(closure)
    update.load_state_dict(update.state_dict())
    unpack(update, *pack(update))
    assert "torch._dynamo" not in sys.modules, name
import gradlearn
gradlearn.fit(torch.nn.Linear(3, 2), (torch.ones(60, 3), torch.arange(60) % 2), steps=3)
assert "torch._dynamo" not in sys.modules, "fit"
assert "sympy" not in sys.modules, "fit"
print("fine")
"""
    assert python(code).strip() == "fine"
