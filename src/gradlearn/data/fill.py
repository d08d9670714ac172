"""From what the readers listed to pixels: look at every header, settle on one size, decode into place.

Two passes. The first reads headers only, so that a bad, foreign or oversized file is known before anything is decoded
and the array can be allocated once. The second reads each file once: its SHA-256 for the fingerprint, its pixels for
the array. Runs of pictures are decoded by a few threads (Pillow's codecs release the lock) and put in their order, so
the result does not depend on how many there are; beside the result only those few runs are in memory.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gradlearn.data.apart import Apart, Beside, beside
from gradlearn.data.decode import decode, pixels_of
from gradlearn.data.header import look
from gradlearn.data.name import Chain
from gradlearn.data.place import load, open_regular
from gradlearn.data.reject import Bad, Reject, reject, settle, too_many
from gradlearn.data.sizes import far
from gradlearn.data.source import Chunk, Part, joined
from gradlearn.data.stored import Disk, Memory, Stored, sink
from gradlearn.errors import InputTrouble, ResourceTrouble, printable

LARGEST = 128  # side, where sizes are mixed and none is asked for: a step of `convnet` has a fifth more arithmetic than at 64
RUN_BYTES = 1 << 24  # decoded pixels in a run
A = TypeVar("A")
B = TypeVar("B")
Held = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # part -> indices into it, to (n,) bool over all of them


@dataclass(frozen=True)
class Wish:
    """How the pixels shall be."""

    size: tuple[int, int] | None = None  # (h, w); None: as they are, or a common size
    channels: int | None = None  # 1 or 3; None: 1 if all are grey
    max_pixels: int = 64_000_000
    memory: int | None = None  # bytes of pixels beyond which they go to `cache`
    cache: str | os.PathLike[str] | None = None
    skip_bad: float = 0.0


@dataclass(frozen=True)
class Filled:
    """Pixels, and which of each part's pictures they are."""

    pixels: np.ndarray | Stored | Apart
    kept: dict[str, np.ndarray]  # part -> indices into the part
    notes: list[dict[str, Any]]
    digest: str  # over names, sizes and contents


def fill(parts: Mapping[str, Part], wish: Wish, rejects: list[Reject], held: Held | None = None) -> Filled:
    """Decode all pictures of the parts, one part after another; `rejects`: those already known to be bad.

    `held` says which of them will only be scored, given those of each part that have a good header: they may be kept in the
    file even where all would fit in memory.
    Raises InputTrouble for bad pictures beyond `skip_bad`, ResourceTrouble where memory or disk give out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; of what matters it raises
        heads = {name: _measure(part, wish) for name, part in parts.items()}
        total = sum(len(part.names) for part in parts.values()) + len(rejects)
        bad = {name: dict(found) for name, (_, found) in heads.items()}
        good = np.concatenate([sizes[_rest(len(sizes), bad[name])] for name, (sizes, _) in heads.items()])
        if not len(good):
            settle(_all(parts, bad, rejects), max(total, 1), 0.0)
            raise InputTrouble(f"{printable(next(iter(parts.values())).where)}: no pictures; add some")
        shape = common(good, wish)
        known = too_many(len(rejects) + sum(map(len, bad.values())), total, wish.skip_bad)
        target = Nowhere() if known else _target(parts, bad, shape, wish, held)
        try:
            digest = _decode(parts, bad, shape, wish, target)
            notes = settle(_all(parts, bad, rejects), total, wish.skip_bad)
            pixels = target.close()
        except MemoryError:
            target.drop()
            raise ResourceTrouble("decoding: memory exhausted; use a smaller --size or --max-pixels") from None
        except BaseException:
            target.drop()
            raise
    kept = {name: _rest(len(part.names), bad[name]) for name, part in parts.items()}
    return Filled(pixels, kept, notes + _sizes(parts, heads, kept, shape), digest)


def _target(
    parts: Mapping[str, Part], bad: Mapping[str, Mapping[int, Bad]], shape: tuple[int, int, int], wish: Wish, held: Held | None
) -> Memory | Disk | Beside:
    good = {name: _rest(len(part.names), bad[name]) for name, part in parts.items()}
    apart = beside(held(good), shape, wish.memory, wish.cache) if held is not None else None
    return apart or sink(sum(map(len, good.values())), shape, wish.memory, wish.cache)


class Nowhere:
    """Where pixels go that nobody will use: all that is wanted is how many pictures are bad."""

    def put(self, pixels: np.ndarray) -> None:
        """Forget them."""

    def close(self) -> np.ndarray:
        """Nothing."""
        return np.empty((0, 1, 1, 1), np.uint8)

    def drop(self) -> None:
        """Nothing to do."""


def _rest(n: int, bad: Mapping[int, Bad]) -> np.ndarray:
    good = np.ones(n, bool)
    good[list(bad)] = False
    return np.flatnonzero(good)


def _all(parts: Mapping[str, Part], bad: Mapping[str, Mapping[int, Bad]], rejects: list[Reject]) -> list[Reject]:
    found = [reject(joined(p.where, p.names[i]), b) for name, p in parts.items() for i, b in bad[name].items()]
    return [*rejects, *found]


def _measure(part: Part, wish: Wish) -> tuple[np.ndarray, dict[int, Bad]]:
    """(n, 3) height, width, channels from the headers, and the pictures that have no good one."""
    n = len(part.names)
    if part.shape is not None:
        return np.broadcast_to(np.array(part.shape, np.int32), (n, 3)), {}
    sizes, bad, at = np.zeros((n, 3), np.int32), {}, 0
    for found in in_order(partial(_heads, max_pixels=wish.max_pixels), part.chunks()):
        for head in found:
            if isinstance(head, Bad):
                bad[at] = head
            else:
                sizes[at] = head
            at += 1
    return sizes, bad


def _heads(chunk: Chunk, max_pixels: int) -> list[tuple[int, int, int] | Bad]:
    found: list[tuple[int, int, int] | Bad] = []
    for item in chunk:
        try:
            with open_regular(item) if isinstance(item, str) else io.BytesIO(item) as file:
                head = look(file, max_pixels)
            found.append((head.height, head.width, head.channels))
        except Bad as bad:
            found.append(bad)
        except OSError as error:
            found.append(Bad(f"cannot be read ({error.strerror})", "check the file and the disk"))
    return found


def common(sizes: np.ndarray, wish: Wish) -> tuple[int, int, int]:
    """(h, w, c) for pictures of these (n, 3) sizes: the wish, or the one size of all, or the medians, at most 128."""
    channels = wish.channels or int(sizes[:, 2].max(initial=1))
    if wish.size is not None:
        return (*wish.size, channels)
    if len(sizes) and (sizes[:, :2] == sizes[0, :2]).all():
        return int(sizes[0, 0]), int(sizes[0, 1]), channels
    middle = np.median(sizes[:, :2], axis=0)
    middle = middle * min(1.0, LARGEST / middle.max())
    h, w = np.maximum(8, 8 * np.round(middle / 8)).astype(int).tolist()
    return h, w, channels


class Run(NamedTuple):
    """A few pictures, decoded."""

    n: int  # how many were looked at
    pixels: np.ndarray  # (m, h, w, c) those that are good
    marks: list[tuple[int, int, bytes]]  # of each good one that came encoded: its place, its length, its SHA-256
    raw: np.ndarray | None  # those that came decoded, as they came
    bad: dict[int, Bad]  # by place


def _decode(
    parts: Mapping[str, Part],
    bad: dict[str, dict[int, Bad]],
    shape: tuple[int, int, int],
    wish: Wish,
    target: Memory | Disk | Beside | Nowhere,
) -> str:
    """Decode into `target`; newly found bad pictures are added to `bad`. The digest of what was used."""
    digest = hashlib.sha256()
    for name, part in parts.items():
        at = 0
        runs = _runs(part.chunks(), frozenset(bad[name]), max(1, RUN_BYTES // math.prod(shape)))
        for run in in_order(partial(_run, shape=shape, wish=wish), runs):
            bad[name].update((at + i, b) for i, b in run.bad.items())
            target.put(run.pixels)
            for i, length, content in run.marks:
                digest.update(f"{part.names[at + i]}\0{length}\0".encode("utf-8", "surrogateescape") + content)
            if run.raw is not None:
                digest.update(np.ascontiguousarray(run.raw).data)
            at += run.n
        kept = _rest(len(part.names), bad[name])
        digest.update(f"{name}\0{len(kept)}\0{part.names[0] if at else ''}\0".encode("utf-8", "surrogateescape"))
        digest.update(part.labels[kept].tobytes())
    return digest.hexdigest()


def _runs(chunks: Iterable[Chunk], known: frozenset[int], most: int) -> Iterator[tuple[Chunk, frozenset[int]]]:
    """Chunks of at most `most` pictures, each with the places of those that need not be tried."""
    at = 0
    for chunk in chunks:
        for start in range(0, len(chunk), most):
            piece = chunk[start : start + most]
            yield piece, frozenset(i for i in range(len(piece)) if at + i in known) if known else known
            at += len(piece)


def _run(run: tuple[Chunk, frozenset[int]], shape: tuple[int, int, int], wish: Wish) -> Run:
    chunk, known = run
    if isinstance(chunk, np.ndarray):
        return Run(len(chunk), fitted(chunk, shape), [], chunk, {})
    pixels = np.empty((len(chunk), *shape), np.uint8)
    marks, bad = [], {}
    for i, item in enumerate(chunk):
        if i in known:
            continue
        try:
            data = load(item) if isinstance(item, str) else item
            pixels[len(marks)] = decode(data, shape[:2], shape[2], wish.max_pixels)
            marks.append((i, len(data), hashlib.sha256(data).digest()))
        except Bad as found:
            bad[i] = found
    return Run(len(chunk), pixels[: len(marks)], marks, None, bad)


def fitted(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Decoded pictures (n, h, w, c) uint8 at another size or with other channels."""
    if pixels.shape[1:] == shape:
        return pixels
    if pixels.shape[1:3] == shape[:2] and pixels.shape[3] == 1:
        return np.repeat(pixels, 3, axis=3)
    from PIL import Image

    images = (Image.fromarray(p[:, :, 0] if p.shape[2] == 1 else p) for p in pixels)
    return np.stack([pixels_of(image, shape[:2], shape[2]) for image in images])


def _sizes(
    parts: Mapping[str, Part], heads: Mapping[str, Any], kept: Mapping[str, np.ndarray], shape: tuple[int, int, int]
) -> list[dict[str, Any]]:
    """Lint rows about pictures that were scaled, or were grey among colour."""
    notes = []
    sizes = np.concatenate([heads[name][0][kept[name]] for name in parts])
    names = Chain([part.names for part in parts.values()], np.concatenate(_placed(parts, kept)))
    scaled = np.flatnonzero((sizes[:, :2] != shape[:2]).any(axis=1))
    if len(scaled):
        low, high = sizes[:, :2].min(axis=0), sizes[:, :2].max(axis=0)
        kinds = f"sizes from {low[1]}x{low[0]} to {high[1]}x{high[0]}"
        what = f"{len(scaled)} of {len(sizes)} pictures scaled and cut to {shape[1]}x{shape[0]} ({kinds})"
        notes.append({"level": "info", "what": what, "count": len(scaled), "examples": [names[i] for i in scaled[:5]]})
    notes += far(sizes, names)
    grey = np.flatnonzero(sizes[:, 2] == 1)
    if shape[2] == 3 and 0 < len(grey) < len(sizes):
        what = f"{len(grey)} of {len(sizes)} pictures are grey among colour"
        notes.append({"level": "info", "what": what, "count": len(grey), "examples": [names[i] for i in grey[:5]]})
    return notes


def _placed(parts: Mapping[str, Part], kept: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    starts = np.cumsum([0, *(len(part.names) for part in parts.values())])
    return [kept[name] + start for name, start in zip(parts, starts.tolist(), strict=False)]


def in_order(work: Callable[[A], B], runs: Iterable[A]) -> Iterator[B]:
    """`work` of each run, by a few threads, in the order of the runs; only a few are ahead of who takes them."""
    workers = min(8, _cores())
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for run in runs:
                pending.append(pool.submit(work, run))
                if len(pending) > workers + 2:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
