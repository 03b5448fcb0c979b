"""Candidates among texts: those that share a band of their signatures.

The work is divided by band and by ranges of the hashes of bands (`band_ranges`). A task holds the
new texts of a range, with 48 bytes each, and compares them with each other and with the earlier
texts, which are read in blocks. If a range has more new texts than a task may hold, it is divided
at their median.

Many texts of one template share a band, and hardly any are copies. So a bucket with more than
`LARGE_BUCKET` new texts is only listed: `large_buckets` finds candidates in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

import numpy as np

from pipelines.duplicates.pair_joins import Rows, bounded_slices, sorted_join
from pipelines.duplicates.texts import band_ranges
from pipelines.duplicates.texts.band_ranges import InRanges, read_range
from pipelines.duplicates.texts.minhash import (
    HASHES,
    band_starts,
    count_different,
    least_equal,
    rows_a_band,
)
from store.arrays import lookup, ragged_ranges

LARGE_BUCKET = 64  # new texts in a bucket; above it not all pairs are candidates
_COMPARED = 1 << 16  # pairs whose sketches are compared at a time
_HASHED = 1 << 64
_BAND_BITS = np.uint64(127)
# (k,) uint64 hashes, (k,) int64 rows and (k, 4) uint64 sketches, in the order of rows.
Blocks: TypeAlias = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Listed:
    """Texts in large buckets: (k,) uint64 buckets and (k,) int64 rows.

    A bucket has the number of its band in its lowest bits.
    """

    bucket: np.ndarray
    row: np.ndarray


def candidates(
    signed: Rows, threshold: float, of: InRanges
) -> Iterator[tuple[np.ndarray, np.ndarray] | Listed]:
    """Pairs of some ranges that share a band and have enough equal minima, the smaller row first.

    A pair comes once over all ranges: at the first band that it shares.

    Args:
        signed: (n, 128) uint16, the signatures.
        threshold: the least similarity.
        of: the ranges. Pairs of two texts that were compared before are left out.

    Yields:
        (k,) rows and (k,) other rows, or members of large buckets.
    """
    for band in of.ranges.bands:
        held: list[tuple[np.ndarray, np.ndarray]] = []
        for part in of.ranges.parts:
            for found in _in_range(_InRange(of, band, part), threshold):
                if isinstance(found, Listed):
                    yield found
                    continue
                held.append(found)
                if sum(len(x) for x, _ in held) >= _COMPARED:
                    yield _at_first_band(signed, held, threshold, band)
                    held = []
        if held:
            yield _at_first_band(signed, held, threshold, band)


def share_a_band(
    signed: Rows, x: np.ndarray, y: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs with enough equal minima that share a band, and the first such band."""
    starts, rows = np.array(band_starts(threshold)), rows_a_band(threshold)
    equal = signed[x] == signed[y]
    shares = np.logical_and.reduceat(equal[:, : starts[-1] + rows], starts, axis=1)
    near = (equal.sum(axis=1) >= least_equal(threshold)) & shares.any(axis=1)
    return x[near], y[near], shares[near].argmax(axis=1)


def _at_first_band(
    signed: Rows, pairs: list[tuple[np.ndarray, np.ndarray]], threshold: float, band: int
) -> tuple[np.ndarray, np.ndarray]:
    x, y = map(np.concatenate, zip(*pairs, strict=True))
    x, y, first_band = share_a_band(signed, x, y, threshold)
    return x[first_band == band], y[first_band == band]


def _in_range(of: "_InRange", threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray] | Listed]:
    """Pairs of a range whose sketches are similar enough, and its large buckets."""
    most = 2 * band_ranges.HELD
    key, row, sketch = of.at_most(most)
    if len(key) > most:
        if of.low == of.high:
            for _, rows, _ in chain(of.old(), of.new()):
                yield _listed(np.full(len(rows), of.low, np.uint64), rows, of.band)
            return
        middle = int(np.partition(key, len(key) // 2)[len(key) // 2])
        for low, high in ((of.low, middle - 1), (middle, middle), (middle + 1, of.high)):
            if low <= high:
                yield from _in_range(replace(of, low=low, high=high), threshold)
        return
    order = np.argsort(key)
    key, row, sketch = key[order], row[order], sketch[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if len(key) else np.empty(0, int)
    counts = np.diff(np.r_[starts, len(key)])
    large = key[starts[counts > LARGE_BUCKET]]
    is_large = np.repeat(counts > LARGE_BUCKET, counts)
    yield _listed(key[is_large], row[is_large], of.band)
    # A text with a bucket of its own can only be near to an earlier text.
    kept = ~is_large & (np.repeat(counts > 1, counts) | (of.task.old > 0))
    key, row, sketch = key[kept], row[kept], sketch[kept]
    yield from _among(key, row, sketch, threshold)
    for old_key, old_row, old_sketch in of.old() if len(key) or len(large) else ():
        is_large = lookup(large, old_key) >= 0
        yield _listed(old_key[is_large], old_row[is_large], of.band)
        for x, y in sorted_join(np.arange(len(key)), key, old_key):
            for x_near, y_near in _similar(sketch, x, old_sketch, y, threshold):
                yield old_row[y_near], row[x_near]


def _among(
    key: np.ndarray, row: np.ndarray, sketch: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of texts with equal keys, which are sorted."""
    later = np.searchsorted(key, key, "right") - np.arange(1, len(key) + 1)
    for block in bounded_slices(later):
        texts = np.arange(len(key))[block]
        x = np.repeat(texts, later[block])
        y = ragged_ranges(texts + 1, later[block])
        for one, other in _similar(sketch, x, sketch, y, threshold):
            a, b = row[one], row[other]
            yield np.minimum(a, b), np.maximum(a, b)


def _similar(
    sketch: np.ndarray, x: np.ndarray, others: np.ndarray, y: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs (k,) of sketches of which enough minima can be equal."""
    most = HASHES - least_equal(threshold)
    for start in range(0, len(x), _COMPARED):
        a, b = x[start : start + _COMPARED], y[start : start + _COMPARED]
        near = count_different(sketch[a], others[b]) <= most
        yield a[near], b[near]


def _listed(key: np.ndarray, row: np.ndarray, band: int) -> Listed:
    return Listed((key & ~_BAND_BITS) | np.uint64(band), row)


@dataclass(frozen=True)
class _InRange:
    """The texts of a range of a task, with hashes from `low` to `high`, both included."""

    task: InRanges
    band: int
    part: int
    low: int = 0
    high: int = _HASHED - 1

    def old(self) -> Blocks:
        """Those that were compared before."""
        return self._read(slice(self.task.old))

    def new(self) -> Blocks:
        return self._read(slice(self.task.old, None))

    def at_most(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The new ones; stops when there are more than `count`."""
        held = [(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, 4), np.uint64))]
        total = 0
        for block in self.new():
            held.append(block)
            total += len(block[0])
            if total > count:
                break
        key, row, sketch = map(np.concatenate, zip(*held, strict=True))
        return key, row, sketch

    def _read(self, pieces: slice) -> Blocks:
        read = self.task.pieces[pieces]
        return read_range(read, self.task.group, self.band, self.part, self.low, self.high)
