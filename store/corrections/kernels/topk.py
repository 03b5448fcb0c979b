"""A running, exact top k over tiles of scores; equal scores are ordered by the lower column.

A score and its column are packed into one 64-bit integer key that sorts as (score, -column). So the
order and the ties follow from integer comparison. With numpy, only scores above the running k-th
best are packed; after the first tiles these are few.
"""

import numpy as np

from store.corrections.kernels.arrays import Array, convert_like, full_like, is_torch, namespace

EMPTY = np.iinfo(np.int64).min
LOW_BITS = 0xFFFFFFFF


def pack(scores: Array, columns: Array) -> Array:
    """int64 keys that sort by float32 score, then by lower column."""
    bits = (scores + 0.0).view(_dtype(scores, "int32"))  # + 0.0 turns -0.0 into 0.0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    wide = ordered.long() if is_torch(scores) else ordered.astype(np.int64)
    return wide * (LOW_BITS + 1) + (LOW_BITS - columns)


def unpack(keys: Array) -> tuple[Array, Array]:
    """Scores and columns of keys; (-inf, -1) for an empty slot and for a masked score."""
    xp = namespace(keys)
    columns = LOW_BITS - (keys & LOW_BITS)
    ordered = keys >> 32
    narrow = ordered.int() if is_torch(keys) else ordered.astype(np.int32)
    scores = (narrow ^ ((narrow >> 31) & 0x7FFFFFFF)).view(_dtype(keys, "float32"))
    valid = (keys != EMPTY) & (scores > -np.inf)
    return xp.where(valid, scores, -np.inf), xp.where(valid, columns, -1)


def _dtype(x: Array, name: str) -> object:
    """The dtype of that name in the module of `x`."""
    return getattr(namespace(x), name)


def kth_lower_bound(scores: np.ndarray, k: int) -> np.ndarray:
    """(n,) a close lower bound on the k-th largest value of each row of scores (n, w), w > k.

    The larger value of two columns is a score of the row, so the k-th largest of such maxima is a
    lower bound. Columns are halved in this way while many more than k are left.
    """
    while scores.shape[1] >= 8 * k:
        half = scores.shape[1] // 2
        scores = np.maximum(scores[:, :half], scores[:, half : 2 * half])
    kth = scores.shape[1] - k
    return np.partition(scores, kth, axis=1)[:, kth]


class TopK:
    """The k largest scores of each of n rows over all tiles that were added."""

    def __init__(self, rows: Array, k: int):
        self.k = k
        self.rows = rows
        self.keys = full_like(rows, (rows.shape[0], k), EMPTY, "int64")
        self.floor = full_like(rows, (rows.shape[0],), -np.inf, "float32")  # running k-th largest

    def add(self, scores: Array, start: int) -> None:
        """Add a tile of scores (n, w) whose first column is column `start` of the full matrix."""
        if self.k == 0:
            return
        if is_torch(scores):
            columns = namespace(scores).arange(start, start + scores.shape[1], device=scores.device)
            joined = namespace(scores).cat([self.keys, pack(scores, columns)], 1)
            self.keys = joined.topk(self.k, dim=1).values
        else:
            self._add_candidates(scores, start)

    def _add_candidates(self, scores: np.ndarray, start: int) -> None:
        flat = np.flatnonzero(scores >= self.least(scores)[:, None])
        self.add_flat(flat, scores.ravel()[flat], scores.shape[1], start)

    def least(self, scores: np.ndarray) -> np.ndarray:
        """(n,) float32, a close lower bound on the scores of a tile (n, w) that change the lists.

        With numpy.
        """
        # A score equal to the floor loses, because its column is higher.
        least = np.nextafter(self.floor, np.float32(np.inf))
        if scores.shape[1] > self.k and (self.floor == -np.inf).any():
            np.maximum(least, kth_lower_bound(scores, self.k), out=least)
        return least

    def add_flat(self, flat: np.ndarray, scores: np.ndarray, width: int, start: int) -> None:
        """Add some scores of a tile (n, w), of which no other score changes the lists.

        With numpy.

        Args:
            flat: (c,) their positions in the tile, ascending.
            scores: (c,) float32.
            width: w.
            start: the column of the full matrix that is the first one of the tile.
        """
        if flat.size == 0:
            return
        n = len(self.floor)
        edges = np.searchsorted(flat, np.arange(n + 1) * width)
        count = np.diff(edges)
        row = np.repeat(np.arange(n), count)
        keys = pack(scores, flat - row * width + start)
        touched = np.flatnonzero(count)
        within = np.arange(flat.size) - edges[row]
        joined = np.full((touched.size, self.k + count.max()), EMPTY)
        joined[:, : self.k] = self.keys[touched]
        joined[np.repeat(np.arange(touched.size), count[touched]), self.k + within] = keys
        best = np.partition(joined, joined.shape[1] - self.k, axis=1)[:, -self.k :]
        self.keys[touched] = best
        self.floor[touched] = unpack(best.min(axis=1))[0]

    def result(self) -> tuple[Array, Array]:
        """(n, k) scores and (n, k) columns, best first; (-inf, -1) if there are fewer than k."""
        if is_torch(self.keys):
            return unpack(self.keys.sort(dim=1, descending=True).values)
        scores, columns = unpack(np.sort(self.keys, axis=1)[:, ::-1])
        return convert_like(scores, self.rows), columns
