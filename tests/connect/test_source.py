"""A network's own file: the classes word for word, nothing of gradlearn, and refused where it needs more of it."""

from __future__ import annotations

import ast
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from gradlearn import find
from gradlearn.classified import Answers
from gradlearn.connect.source import source
from gradlearn.errors import InputTrouble


def written(path: Path, text: str) -> ModuleType:
    path.write_text(text)
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", find.names("models"))
def test_every_network_of_ours_stands_alone(name: str, tmp_path: Path):
    kind = find.describe("models", name).public
    text = source(find.module("models", name), [Answers], f"{kind}()", "Answers(network, mirror=False)", "x", "y = network(x)")
    tree = ast.parse(text)
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not any(module.startswith("gradlearn") for module in imported)
    ours = find.module("models", name)
    alone = written(tmp_path / f"alone_{name}.py", text)
    assert (alone.__doc__ or "").startswith("x: a trained network")
    assert "__future__" in imported
    same = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind)
    theirs = next(
        node
        for node in ast.parse(Path(str(ours.__file__)).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == kind
    )
    theirs.body = [node for node in theirs.body if "from gradlearn" not in ast.unparse(node)]
    assert ast.dump(same) == ast.dump(theirs)


@pytest.mark.parametrize("needs", ["from gradlearn.chance import key", "from gradlearn.errors import nearest"])
def test_a_network_that_needs_more_of_us_is_refused(needs: str, tmp_path: Path):
    module = written(tmp_path / "needy.py", f'"""A network."""\n\n{needs}\n\n\nclass Net:\n    pass\n')
    with pytest.raises(InputTrouble, match=r"^export: needy needs .*; this network goes --to onnx alone$"):
        source(module, [], "Net()", "network", "x", "y")
