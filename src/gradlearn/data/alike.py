"""Pictures that are nearly the same, though not byte for byte: saved again, scaled, brightened a little.

    a ~ b   where   |a' - b'|^2 <= 0.15 m,   x' = (x - mean x) / |x - mean x|,   m = median of min_b |a' - b'|^2

(at least 0.002, at most 0.06): a near copy is nearer by far than pictures of these data usually are to the nearest other. Each
picture is shrunk to 8 x 8 grey; signs of random projections (SimHash: Charikar, "Similarity estimation techniques from rounding
algorithms", STOC 2002) are cut into bands, and pictures that agree in a whole band are compared, first so, then in colour at 16 x
16. Near copies between parts are common: Barz and Denzler, "Do we train on test data?", arXiv 1902.00423. Not found: mirrored,
turned or strongly cropped copies.
"""

from __future__ import annotations

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
    seen = np.flatnonzero(small.std(axis=1, dtype=np.float32) >= FAINT)
    if len(seen) < 2:
        return np.empty((0, 2), np.int64)
    x = small[seen].astype(np.float32)
    flat = _flat(x)
    most = min(MOST, max(LEAST, NEARER * usual(flat)))
    bent = flat - flat.mean(axis=0)  # what all have in common tells no two apart
    found = []
    for band in range(BANDS):
        i, j = _agreeing(bent, band)
        worth = (group[seen[i]] != group[seen[j]]) & (hashes[seen[i]] != hashes[seen[j]])
        i, j = i[worth], j[worth]
        near = _near(flat[i], flat[j], most)
        i, j = seen[i[near]], seen[j[near]]
        found.append(np.stack([np.minimum(i, j), np.maximum(i, j)], axis=1))
    candidates = np.unique(np.concatenate(found), axis=0)
    parts = [candidates[a : a + PART] for a in range(0, len(candidates), PART)]
    kept = []
    for part in parts:
        one, other = (shrunk(take(pixels, part[:, k]), FINE, grey=False) for k in (0, 1))
        kept.append(part[_alike(one, other, most)])
    return np.concatenate(kept) if kept else candidates


def usual(flat: np.ndarray) -> float:
    """The median squared distance to the nearest other of (n, k) rows of length 1; of many, a sample is asked."""
    asked = np.linspace(0, len(flat) - 1, min(len(flat), SAMPLE)).astype(np.int64)
    nearest = []
    for some in np.array_split(asked, -(-len(asked) // 50)):
        product = flat[some] @ flat.T
        product[np.arange(len(some)), some] = -1.0
        nearest.append(2.0 - 2.0 * product.max(axis=1))
    return float(np.median(np.concatenate(nearest)))


def _agreeing(bent: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows whose signs under the band's projections are all the same."""
    draw = chance.uniform(0, "alike", np.arange(bent.shape[1])[:, None], BITS * band + np.arange(BITS)[None, :])
    signs = bent @ (draw - 0.5).astype(np.float32) > 0
    keys = np.zeros((len(bent), 4), np.uint8)
    keys[:, : BITS // 8] = np.packbits(signs, axis=1)
    key = keys.view(np.uint32)[:, 0]
    order = np.argsort(key, kind="stable")
    key = key[order]
    left, right = [], []
    for gap in range(1, NEXT + 1):
        at = np.flatnonzero(key[gap:] == key[:-gap])
        if not len(at):
            break
        left.append(order[at])
        right.append(order[at + gap])
    none = np.empty(0, np.int64)
    return (np.concatenate(left), np.concatenate(right)) if left else (none, none)


def _flat(x: np.ndarray) -> np.ndarray:
    """Rows (n, k) without their mean, of length 1."""
    x = x - x.mean(axis=1, keepdims=True)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _near(a: np.ndarray, b: np.ndarray, most: float) -> np.ndarray:
    """(m,) whether rows of length 1 are that near."""
    return 2.0 - 2.0 * np.einsum("ij,ij->i", a, b) <= most


def _alike(a: np.ndarray, b: np.ndarray, most: float) -> np.ndarray:
    """(m,) whether shrunk pictures are nearly the same, but for a little brightness and contrast."""
    p, q = a.std(axis=1), b.std(axis=1)
    shift = np.abs(a.mean(axis=1) - b.mean(axis=1))
    return _near(_flat(a), _flat(b), most) & (shift <= BRIGHTER) & (np.maximum(p, q) <= STRONGER * np.minimum(p, q))
