"""model/: what a run leaves for predict, load and export: weights.safetensors and card.json, committed together.

The card (a dict: labels, preprocessing, ties between parameters, ...) carries the size and SHA-256 of the weights and
of itself. The same tensors and card give the same bytes. Pickles are not read.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlearn.errors import CheckpointTrouble, InputTrouble, ResourceTrouble, printable
from gradlearn.record import disk, strict, tensors
from gradlearn.record.filling import filling
from gradlearn.record.strict import Malformed

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
LIMIT = 1 << 40  # bytes
_OWN = {"format", "weights"}
_PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib", ".h5", ".hdf5", ".keras"}


def write_model(folder: Path, weights: Mapping[str, Tensor], card: dict[str, Any]) -> Path:
    """Commit FOLDER/model; a model that is there already stays complete until the new one is on disk.

    card: what JSON can hold exactly, no keys "format" and "weights". Raises ResourceTrouble after a second try.
    """
    if taken := _OWN & set(card):
        raise ValueError(f"card: key {sorted(taken)[0]!r} is written by us")
    packed = tensors.Packed(weights)
    strict.sealed(card)  # a card that cannot be written is refused before anything is
    failed = None
    for _ in range(2):
        try:
            return _commit(folder, packed, card)
        except OSError as error:
            failed = failed or error
    assert failed is not None
    raise ResourceTrouble(disk.refusal(folder, failed, "model")) from failed


def write_beside(folder: Path, name: str, data: bytes) -> None:
    """A file more in FOLDER/model, which a new model takes away. Raises ResourceTrouble."""
    try:
        disk.replace(folder / "model" / name, data)
    except OSError as error:
        raise ResourceTrouble(disk.refusal(folder, error, name)) from error


def read_model(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the card of a run's model, as they were handed to `write_model`. Raises CheckpointTrouble."""
    final = folder / "model"
    home = final if final.is_dir() else disk.aside(final)
    if not home.is_dir():
        raise CheckpointTrouble(f"{folder}: no model yet; let the run end first: gradlearn resume {folder}")
    try:
        entry, card = _card(home)
        data = disk.read(home / "weights.safetensors", LIMIT)
        if (len(data), hashlib.sha256(data).hexdigest()) != (entry.get("bytes"), entry.get("sha256")):
            tensors.gate(data)  # says more precisely what is wrong, where that can be seen
            raise Malformed("weights.safetensors hash differs (damaged)")
        return tensors.unpack(data), card
    except Malformed as error:
        raise CheckpointTrouble(f"{home}: {error}; write it again with: gradlearn resume {folder}") from None
    except OSError as error:
        what = f"{Path(error.filename or home).name} cannot be read ({disk.why(error)})"
        raise CheckpointTrouble(f"{home}: {what}; write it again with: gradlearn resume {folder}") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file from anywhere. Raises InputTrouble, also for every kind of pickle, unopened."""
    where = printable(path)
    if path.suffix.lower() in _PICKLES:
        what = "pickle-based weights are not loaded; convert them to safetensors in the program that made them"
        raise InputTrouble(f"{where}: {what}")
    try:
        return tensors.unpack(disk.read(path, LIMIT))
    except Malformed as error:
        raise InputTrouble(f"{where}: {error}") from None
    except OSError as error:
        raise InputTrouble(f"{where}: cannot be read ({disk.why(error)}); give a safetensors file") from None


def _commit(folder: Path, packed: tensors.Packed, card: dict[str, Any]) -> Path:
    tmp, final = disk.spare(folder, "tmp", "model"), folder / "model"
    try:
        with filling(tmp) as new:
            size, digest = new("weights.safetensors", packed.chunks())
            sealed = strict.sealed(card | {"format": FORMAT, "weights": {"bytes": size, "sha256": digest}})
            new("card.json", [strict.document(sealed, indent=1)])
        disk.put(tmp, final)
    except OSError:
        with contextlib.suppress(OSError):
            disk.remove(tmp)
        raise
    return final


def _card(home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    data = disk.read(home / "card.json", strict.LIMIT)
    card = strict.parse(data)
    if not strict.intact(card, data) or type(card.get("weights")) is not dict:
        raise Malformed("card.json hash differs (damaged)")
    if card["format"] > FORMAT:
        raise CheckpointTrouble(f"{home}: format {card['format']} is newer than this program ({FORMAT}); upgrade it")
    return card["weights"], strict.opened({key: item for key, item in card.items() if key not in _OWN})
