"""Pictures that are nearly the same, though not byte for byte: saved again, scaled, brightened a little.

    a ~ b   where   |a' - b'|^2 <= 0.15 m,   x' = (x - mean x) / |x - mean x|,   m = median of min_b |a' - b'|^2

(at least 0.002, at most 0.06): a near copy is nearer by far than pictures of these data usually are to the nearest other. Each
picture is shrunk to 8 x 8 grey; signs of random projections (SimHash: Charikar, "Similarity estimation techniques from rounding
algorithms", STOC 2002) are cut into bands, and pictures that agree in a whole band are compared, first so, then in colour at 16 x
16. Near copies between parts are common: Barz and Denzler, "Do we train on test data?", arXiv 1902.00423. Not found: mirrored,
turned or strongly cropped copies.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlearn import chance
from gradlearn.data.apart import Apart
from gradlearn.data.stored import Stored, take

SIDE, FINE = 8, 16  # pixels a side that are compared first, and at last
BANDS, BITS = 16, 24
NEXT = 16  # of pictures that agree in a band, each is compared with so many that follow it
LEAST, MOST, NEARER = 0.002, 0.06, 0.15  # squared distance, and as a share of the usual one to the nearest other
SAMPLE = 400  # pictures of which the nearest other is looked for
BRIGHTER = 24.0  # grey levels by which one may be the brighter
STRONGER = 1.5  # times the contrast that one may have
FAINT = 1.0  # grey levels of contrast below which a picture has nothing to compare
PART = 4096  # pairs compared in colour at a time
BLOCK = 2048  # rows that are of float32 at a time: beside `small` next to nothing is held


def shrunk(pixels: np.ndarray, side: int, grey: bool) -> np.ndarray:
    """(n, h, w, c) uint8 -> (n, k) float32 means over the areas of a grid of at most side x side, channels averaged if `grey`."""
    n, h, w, c = pixels.shape
    down, across = _areas(h, side), _areas(w, side)
    across = np.repeat(across / c, c, axis=0) if grey else np.kron(across, np.eye(c, dtype=np.float32))
    rows = pixels.reshape(n * h, w * c).astype(np.float32) @ across
    return np.matmul(down.T, rows.reshape(n, h, -1)).reshape(n, -1)


def _areas(n: int, side: int) -> np.ndarray:
    """(n, k) share that each of n pixels has in each of k = min(n, side) equal stretches."""
    k = min(n, side)
    ends, pixel = np.linspace(0, n, k + 1), np.arange(n)[:, None]
    overlap = np.minimum(ends[1:], pixel + 1) - np.maximum(ends[:-1], pixel)
    return (np.clip(overlap, 0, None) * k / n).astype(np.float32)


def pairs(pixels: np.ndarray | Stored | Apart, small: np.ndarray, hashes: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(m, 2) int64 indices i < j of pictures that are nearly the same, not equal, and of different `group`.

    small: (n, k) of `shrunk` in grey; hashes: (n,) equal where pictures are; group: (n,) integers, of which pairs worth comparing
    have different ones. Of a picture with many near copies some may be left out.
    """
    clear = [small[part].std(axis=1, dtype=np.float32) >= FAINT for part in _parts(np.arange(len(small)))]
    seen = np.flatnonzero(np.concatenate(clear)) if clear else np.empty(0, np.int64)
    if len(seen) < 2:
        return np.empty((0, 2), np.int64)
    most = min(MOST, max(LEAST, NEARER * usual(small, seen)))
    candidates = _candidates(small, seen, hashes, group, most)
    parts = [candidates[a : a + PART] for a in range(0, len(candidates), PART)]
    kept = []
    for part in parts:
        one, other = (shrunk(take(pixels, part[:, k]), FINE, grey=False) for k in (0, 1))
        kept.append(part[_alike(one, other, most)])
    return np.concatenate(kept) if kept else candidates


def _candidates(small: np.ndarray, seen: np.ndarray, hashes: np.ndarray, group: np.ndarray, most: float) -> np.ndarray:
    """(m, 2) pairs of the pictures `seen` that agree in a band and are that near in grey; the rest as for `pairs`."""
    whole = np.sum([_flat(small[part]).sum(axis=0) for part in _parts(seen)], axis=0)
    middle = whole / len(seen)  # common to all: tells none apart
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        for at, to in _agreeing(np.concatenate([_key(_flat(small[part]) - middle, band) for part in _parts(seen)])):
            i, j = seen[at], seen[to]
            worth = (group[i] != group[j]) & (hashes[i] != hashes[j])
            for pair in _parts(np.sort(np.stack([i[worth], j[worth]], axis=1), axis=1)):
                found.append(pair[_near(_flat(small[pair[:, 0]]), _flat(small[pair[:, 1]]), most)])
    return np.unique(np.concatenate(found), axis=0)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    """The same rows, some at a time."""
    return [rows[a : a + BLOCK] for a in range(0, len(rows), BLOCK)]


def usual(small: np.ndarray, seen: np.ndarray) -> float:
    """The median squared distance to the nearest other of these rows of `small`; of many, a sample is asked."""
    asked = seen[np.linspace(0, len(seen) - 1, min(len(seen), SAMPLE)).astype(np.int64)]
    mine, most = _flat(small[asked]), np.full(len(asked), -1.0, np.float32)
    for part in _parts(seen):
        product = mine @ _flat(small[part]).T
        product[asked[:, None] == part[None, :]] = -1.0
        most = np.maximum(most, product.max(axis=1))
    return float(np.median(2.0 - 2.0 * most))


def _key(bent: np.ndarray, band: int) -> np.ndarray:
    """(n,) uint32: the signs of rows (n, k) under the band's projections."""
    draw = chance.uniform(0, "alike", np.arange(bent.shape[1])[:, None], BITS * band + np.arange(BITS)[None, :])
    keys = np.zeros((len(bent), 4), np.uint8)
    keys[:, : BITS // 8] = np.packbits(bent @ (draw - 0.5).astype(np.float32) > 0, axis=1)
    return keys.view(np.uint32)[:, 0]


def _agreeing(key: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of places whose keys are the same."""
    order = np.argsort(key, kind="stable")
    key = key[order]
    for gap in range(1, NEXT + 1):
        at = np.flatnonzero(key[gap:] == key[:-gap])
        if not len(at):
            break
        yield order[at], order[at + gap]


def _flat(x: np.ndarray) -> np.ndarray:
    """Rows (n, k) without their mean, of length 1, float32."""
    x = x.astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def _near(a: np.ndarray, b: np.ndarray, most: float) -> np.ndarray:
    """(m,) whether rows of length 1 are that near."""
    return 2.0 - 2.0 * np.einsum("ij,ij->i", a, b) <= most


def _alike(a: np.ndarray, b: np.ndarray, most: float) -> np.ndarray:
    """(m,) whether shrunk pictures are nearly the same, but for a little brightness and contrast."""
    p, q = a.std(axis=1), b.std(axis=1)
    shift = np.abs(a.mean(axis=1) - b.mean(axis=1))
    return _near(_flat(a), _flat(b), most) & (shift <= BRIGHTER) & (np.maximum(p, q) <= STRONGER * np.minimum(p, q))
