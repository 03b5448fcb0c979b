"""Candidates among texts: those that share a band of their signatures.

The work is divided by band and by ranges of the hashes of bands. A range is one task. It holds its
new texts, with 48 bytes each, and compares them with each other and with the earlier texts, which
are read in blocks. If a range has more new texts than a task may hold, it is divided at their
median.

Many texts of one template share a band, and hardly any are copies. So a bucket with more than
`LARGE_BUCKET` new texts is only listed: `large_buckets` finds candidates in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.duplicates.pair_joins import Rows, bounded_slices, sorted_join
from pipelines.duplicates.texts.minhash import (
    HASHES,
    band_hashes,
    band_starts,
    count_different,
    least_equal,
    rows_a_band,
    sketches,
)
from store.arrays import lookup, ragged_ranges

LARGE_BUCKET = 64  # new texts in a bucket; above it not all pairs are candidates
HELD = 1 << 19  # new texts that a range should have; it never has more than twice as many
_READ = 1 << 14  # signatures that are read at a time
_COMPARED = 1 << 16  # pairs whose sketches are compared at a time
_HASHED = 1 << 64
_BAND_BITS = np.uint64(127)


class Range(NamedTuple):
    """What a task compares: hashes from `low` to `high`, both included, in each of some bands."""

    bands: range
    low: int = 0
    high: int = _HASHED - 1


@dataclass(frozen=True)
class Listed:
    """Texts in large buckets: (k,) uint64 buckets and (k,) int64 rows.

    A bucket has the number of its band in its lowest bits.
    """

    bucket: np.ndarray
    row: np.ndarray


def ranges(threshold: float, new: int) -> Iterator[Range]:
    """The tasks that compare so many new texts. Few texts are compared in several bands at once."""
    bands = len(band_starts(threshold))
    parts, step = -(-new // HELD), max(1, HELD // max(new, 1))
    for first in range(0, bands, step):
        for part in range(parts):
            low, high = (_HASHED * n // parts for n in (part, part + 1))
            yield Range(range(first, min(first + step, bands)), low, high - 1)


def candidates(
    signed: Rows, threshold: float, first: int, of: Range
) -> Iterator[tuple[np.ndarray, np.ndarray] | Listed]:
    """Pairs of a range that share a band and have enough equal minima, the smaller row first.

    A pair comes once over all ranges: at the first band that it shares.

    Args:
        signed: (n, 128) uint16, the signatures; all zero for texts that are not compared.
        threshold: the least similarity.
        first: pairs of two texts before it are left out.
        of: the range.

    Yields:
        (k,) rows and (k,) other rows, or members of large buckets.
    """
    for band in of.bands:
        held: list[tuple[np.ndarray, np.ndarray]] = []
        for found in _in_band(signed, threshold, first, band, of.low, of.high):
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


def _in_band(
    signed: Rows, threshold: float, first: int, band: int, low: int, high: int
) -> Iterator[tuple[np.ndarray, np.ndarray] | Listed]:
    """Pairs of a range of one band whose sketches are similar enough, and its large buckets."""
    in_range = _InRange(signed, *_span(threshold, band), low, high)
    key, row, sketch = in_range.at_most(2 * HELD, first)
    if len(key) > 2 * HELD:
        if low == high:
            for _, rows, _ in in_range.blocks(0, len(signed)):
                yield _listed(np.full(len(rows), low, np.uint64), rows, band)
            return
        middle = int(np.partition(key, len(key) // 2)[len(key) // 2])
        for one in ((low, middle - 1), (middle, middle), (middle + 1, high)):
            if one[0] <= one[1]:
                yield from _in_band(signed, threshold, first, band, *one)
        return
    order = np.argsort(key)
    key, row, sketch = key[order], row[order], sketch[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if len(key) else np.empty(0, int)
    counts = np.diff(np.r_[starts, len(key)])
    large = key[starts[counts > LARGE_BUCKET]]
    is_large = np.repeat(counts > LARGE_BUCKET, counts)
    yield _listed(key[is_large], row[is_large], band)
    # A text with a bucket of its own can only be near to an earlier text.
    kept = ~is_large & (np.repeat(counts > 1, counts) | (first > 0))
    key, row, sketch = key[kept], row[kept], sketch[kept]
    yield from _among(key, row, sketch, threshold)
    for old_key, old_row, old_sketch in in_range.blocks(0, first if len(key) or len(large) else 0):
        is_large = lookup(large, old_key) >= 0
        yield _listed(old_key[is_large], old_row[is_large], band)
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


def _span(threshold: float, band: int) -> tuple[int, int]:
    """The first minimum of a band, and how many it has."""
    return band_starts(threshold)[band], rows_a_band(threshold)


@dataclass(frozen=True)
class _InRange:
    """The texts whose hash of a band is in a range."""

    signed: Rows
    start: int
    rows: int
    low: int
    high: int

    def blocks(self, first: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Those among some rows: (k,) uint64 hashes, (k,) int64 rows, and (k, 4) sketches."""
        low, high = np.uint64(self.low), np.uint64(self.high)
        for begin in range(first, stop, _READ):
            block = self.signed[begin : min(begin + _READ, stop)]
            key = band_hashes(block, self.start, self.rows)
            chosen = (key >= low) & (key <= high)
            # Texts that are too short have no minima but zeros, of which the hash is 0.
            zero = np.flatnonzero(key == 0)
            chosen[zero] &= block[zero].any(axis=1)
            index = np.flatnonzero(chosen)
            yield key[index], begin + index, sketches(block[index])

    def at_most(self, count: int, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those from a row on, as `blocks` yields them; stops when there are more than `count`."""
        held = [(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, 4), np.uint64))]
        total = 0
        for block in self.blocks(first, len(self.signed)):
            held.append(block)
            total += len(block[0])
            if total > count:
                break
        key, row, sketch = map(np.concatenate, zip(*held, strict=True))
        return key, row, sketch
