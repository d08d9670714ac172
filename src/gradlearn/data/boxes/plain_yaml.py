"""YAML of plain values only: no tags, no anchors, no keys twice. Needs PyYAML (extra `detect`).

The stream of events is judged before anything is made of it, so that no tag reaches a constructor and no alias multiplies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradlearn.data.boxes.place import text
from gradlearn.data.place import roots
from gradlearn.data.reject import Bad, reject
from gradlearn.errors import InputTrouble, printable

BYTES = 1 << 20
DEPTH = 20
CORE = "tag:yaml.org,2002:"


def load(path: Path, where: str, follow_links_to: Any = None) -> dict[str, Any]:
    """The mapping in a YAML file; raises InputTrouble with line and column."""
    try:
        import yaml
    except ImportError:
        raise InputTrouble(f"{printable(where)}: reading YAML needs PyYAML; pip install 'gradlearn[detect]'") from None
    try:
        data = text(str(path), roots(path.parent, follow_links_to), BYTES).decode("utf-8-sig")
        judge(yaml.parse(data, Loader=yaml.SafeLoader), where)
        found = yaml.load(data, Loader=_loader())
    except (FileNotFoundError, NotADirectoryError):
        raise InputTrouble(f"{printable(where)}: file not found; give an existing data.yaml") from None
    except Bad as bad:
        raise InputTrouble(reject(where, bad).line) from None
    except UnicodeDecodeError as error:
        raise InputTrouble(f"{printable(where)}: byte 0x{error.object[error.start]:02x} is not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise InputTrouble(f"{printable(where)}{spot}: not valid YAML ({printable(error.problem, 80)}); fix the file") from None
    except (yaml.YAMLError, ValueError, RecursionError, ArithmeticError) as error:
        if isinstance(error, InputTrouble):
            raise
        raise InputTrouble(f"{printable(where)}: not valid YAML ({printable(error, 80)}); fix the file") from None
    if not isinstance(found, dict):
        raise InputTrouble(f"{printable(where)}: expected keys such as train, val and names; fix the file")
    return found


def judge(events: Any, where: str) -> None:
    """Raise InputTrouble for tags, anchors, aliases and depth."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise InputTrouble(f"{printable(where)}: anchor or alias '{printable(event.anchor)}' is not allowed; plain values only")
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace(CORE, "!!", 1) if tag.startswith(CORE) else tag
            raise InputTrouble(f"{printable(where)}: tag '{printable(shown)}' is not allowed; plain values only")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise InputTrouble(f"{printable(where)}: nested deeper than {DEPTH}; plain values only")


def _loader() -> Any:
    """PyYAML's safe loader, which also refuses a key that is there twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(getattr(key, "value", key))
                if name in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{printable(name)}'", key.start_mark)
                seen.add(name)
            return super().construct_mapping(node, deep)

    return Loader
