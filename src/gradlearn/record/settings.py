"""run.toml: the whole configuration of a run as it ran, each value with who chose it. Also what `--config` reads.

format = 1, program, task, [data], [machine], [choice.NAME] value, by ("user" | "plan" | "measured" | "data"), why
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from gradlearn.errors import CheckpointTrouble, InputTrouble, ResourceTrouble, Trouble, printable
from gradlearn.record import disk, strict
from gradlearn.record.folder import SETTINGS

FORMAT = 1


def write(folder: Path, settings: dict[str, Any]) -> None:
    """Write FOLDER/run.toml: old or new at every instant. Raises ResourceTrouble, ValueError for what TOML has not."""
    text = tomli_w.dumps(_plain({"format": FORMAT} | settings, "run.toml")).encode()
    _checked(text, SETTINGS, ValueError)
    try:
        disk.replace(folder / SETTINGS, text)
    except OSError as error:
        raise ResourceTrouble(disk.refusal(folder, error, SETTINGS)) from error


def read(folder: Path) -> dict[str, Any]:
    """The settings of a run. Raises CheckpointTrouble where they are damaged or of a newer program."""
    path = folder / SETTINGS
    settings = _read(path, CheckpointTrouble, "restore a copy or start anew")
    form = settings.get("format")
    if type(form) is not int or form < 1:
        raise CheckpointTrouble(f"{path}: has no format; restore a copy or start anew")
    if form > FORMAT:
        raise CheckpointTrouble(f"{path}: format {form} is newer than this program ({FORMAT}); upgrade it")
    return settings


def load(path: Path) -> dict[str, Any]:
    """A TOML file that a person wrote or copied (`--config`). Raises InputTrouble."""
    return _read(path, InputTrouble, "fix the file")


def _read(path: Path, trouble: type[Trouble], act: str) -> dict[str, Any]:
    try:
        text = bytes(disk.read(path, strict.LIMIT))
    except FileNotFoundError:
        raise trouble(f"{printable(path)}: file not found; give an existing one") from None
    except OSError as error:
        raise trouble(f"{printable(path)}: cannot be read ({disk.why(error)}); {act}") from None
    try:
        return _checked(text, printable(path), trouble)
    except Trouble as error:
        raise trouble(f"{error}; {act}") from None


def _checked(text: bytes, where: str, trouble: type[Exception]) -> dict[str, Any]:
    try:
        if len(text) > strict.LIMIT:
            raise strict.Malformed(f"{len(text)} bytes exceed {strict.LIMIT}")
        settings = tomllib.loads(text.decode("utf-8"))
        strict.measure(settings)
    except UnicodeDecodeError as error:
        raise trouble(f"{where}: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise trouble(f"{where}: nested deeper than {strict.DEPTH}") from None
    except ValueError as error:  # TOMLDecodeError says line and column
        raise trouble(f"{where}: not valid TOML ({printable(error)})") from None
    return settings


def _plain(value: Any, where: str) -> Any:
    """What TOML can hold: it has no null, and its text is UTF-8 (a file name need not be)."""
    if isinstance(value, Mapping):
        return {_plain(str(key), where): _plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, (str, Path)):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if value is None:
        raise ValueError(f"{where}: TOML has no null; leave the key out")
    return value.tolist() if hasattr(value, "tolist") else value
