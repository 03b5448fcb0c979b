"""A running top k over tiles of scores, exact, with ties going to the lower index.

A score and its column are packed into one 64-bit key that sorts as (score, -column): order and
tie-breaking then are plain integer order. On numpy only the scores above the running k-th best
are packed at all, which after the first tiles are few.
"""

import numpy as np

from store.corrections.kernels.arrays import Array, beside, full_like, is_torch, namespace

EMPTY = np.iinfo(np.int64).min
LOW = 0xFFFFFFFF


def pack(scores: Array, columns: Array) -> Array:
    """int64 keys in the order of float32 scores, lower columns first among equals."""
    bits = (scores + 0.0).view(bits_type(scores, "int32"))  # + 0.0 makes one zero of -0.0 and 0.0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    wide = ordered.long() if is_torch(scores) else ordered.astype(np.int64)
    return wide * (LOW + 1) + (LOW - columns)


def unpack(keys: Array) -> tuple[Array, Array]:
    """Scores and columns of keys; (-inf, -1) for an empty place and for a masked score."""
    xp = namespace(keys)
    columns = LOW - (keys & LOW)
    ordered = keys >> 32
    narrow = ordered.int() if is_torch(keys) else ordered.astype(np.int32)
    scores = (narrow ^ ((narrow >> 31) & 0x7FFFFFFF)).view(bits_type(keys, "float32"))
    there = (keys != EMPTY) & (scores > -np.inf)
    return xp.where(there, scores, -np.inf), xp.where(there, columns, -1)


def bits_type(x: Array, name: str) -> object:
    return getattr(namespace(x), name)


def kth_at_least(scores: np.ndarray, k: int) -> np.ndarray:
    """(n,) a lower bound, and a good one, on the k-th best of each row of scores (n, w), w > k.

    The larger of each pair of columns is a score too, so the k-th best of those will do, and so
    on while many more than k are left: it is found among far fewer.
    """
    while scores.shape[1] >= 8 * k:
        half = scores.shape[1] // 2
        scores = np.maximum(scores[:, :half], scores[:, half : 2 * half])
    place = scores.shape[1] - k
    return np.partition(scores, place, axis=1)[:, place]


class TopK:
    """The best k of each of n rows over all tiles added."""

    def __init__(self, rows: Array, k: int):
        self.k = k
        self.rows = rows
        self.keys = full_like(rows, (rows.shape[0], k), EMPTY, "int64")
        self.floor = full_like(rows, (rows.shape[0],), -np.inf, "float32")

    def add(self, scores: Array, start: int) -> None:
        """Take in a tile (n, w) whose first column is number `start` of the whole."""
        if self.k == 0:
            return
        if is_torch(scores):
            columns = namespace(scores).arange(start, start + scores.shape[1], device=scores.device)
            joined = namespace(scores).cat([self.keys, pack(scores, columns)], 1)
            self.keys = joined.topk(self.k, dim=1).values
        else:
            self._add_candidates(scores, start)

    def _add_candidates(self, scores: np.ndarray, start: int) -> None:
        n, width = scores.shape
        least = np.nextafter(self.floor, np.float32(np.inf))  # equal scores: the lower column stays
        if width > self.k and (self.floor == -np.inf).any():
            np.maximum(least, kth_at_least(scores, self.k), out=least)
        flat = np.flatnonzero(scores >= least[:, None])
        if flat.size == 0:
            return
        edges = np.searchsorted(flat, np.arange(n + 1) * width)
        count = np.diff(edges)
        row = np.repeat(np.arange(n), count)
        keys = pack(scores.ravel()[flat], flat - row * width + start)
        touched = np.flatnonzero(count)
        place = np.arange(flat.size) - edges[row]
        joined = np.full((touched.size, self.k + count.max()), EMPTY)
        joined[:, : self.k] = self.keys[touched]
        joined[np.repeat(np.arange(touched.size), count[touched]), self.k + place] = keys
        best = np.partition(joined, joined.shape[1] - self.k, axis=1)[:, -self.k :]
        self.keys[touched] = best
        self.floor[touched] = unpack(best.min(axis=1))[0]

    def result(self) -> tuple[Array, Array]:
        """(n, k) scores and (n, k) columns, best first; (-inf, -1) where there are fewer."""
        if is_torch(self.keys):
            return unpack(self.keys.sort(dim=1, descending=True).values)
        scores, columns = unpack(np.sort(self.keys, axis=1)[:, ::-1])
        return beside(scores, self.rows), columns
