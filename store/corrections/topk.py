"""A running top k over tiles of scores, exact, with ties going to the lower index.

A score and its column are packed into one 64-bit key that sorts as (score, -column): order and
tie-breaking then are plain integer order. On numpy only the scores above the running k-th best
are packed at all, which after the first tiles are few.
"""

import numpy as np

from store.corrections.arrays import Array, beside, full_like, is_torch, namespace

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
        above = scores > self.floor[:, None]
        if width > self.k and (self.floor == -np.inf).any():
            # Nothing to compare with yet: the tile's own k-th best is the first floor.
            kth = np.partition(scores, width - self.k, axis=1)[:, width - self.k]
            above &= scores >= kth[:, None]
        flat = np.flatnonzero(above)
        if flat.size == 0:
            return
        row, column = np.divmod(flat, width)
        keys = pack(scores.ravel()[flat], column + start)
        count = np.bincount(row, minlength=n)
        touched = np.flatnonzero(count)
        count = count[touched]
        place = np.arange(flat.size) - np.repeat(np.cumsum(count) - count, count)
        joined = np.full((touched.size, self.k + count.max()), EMPTY)
        joined[:, : self.k] = self.keys[touched]
        joined[np.repeat(np.arange(touched.size), count), self.k + place] = keys
        best = np.partition(joined, joined.shape[1] - self.k, axis=1)[:, -self.k :]
        self.keys[touched] = best
        self.floor[touched] = unpack(best.min(axis=1))[0]

    def result(self) -> tuple[Array, Array]:
        """(n, k) scores and (n, k) columns, best first; (-inf, -1) where there are fewer."""
        if is_torch(self.keys):
            return unpack(self.keys.sort(dim=1, descending=True).values)
        scores, columns = unpack(np.sort(self.keys, axis=1)[:, ::-1])
        return beside(scores, self.rows), columns
