"""Equal keys of two arrays, and pairs of rows: what every search for near-duplicates is made of.

Rows stand in one array, those that were compared before first. A search takes `first`, the place
of the first new row, and leaves out pairs of two rows before it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from store.arrays import equal_range, ragged_ranges

MOST = 1 << 21  # candidates of one block: some 100 MB with what is made of them
_PROBES = 1 << 18


@dataclass(frozen=True)
class Pairs:
    """Rows a < b, int64 (k,), sorted and each pair once, and their similarity, float32 (k,)."""

    a: np.ndarray
    b: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.a)


def equal(table: np.ndarray, probes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places in `table` and in `probes` of all equal values, in blocks of bounded size.

    A block is larger than `MOST` only where one probe has more equals than that.
    """
    order = np.argsort(table)
    ordered = table[order]
    for start in range(0, len(probes), _PROBES):
        block = probes[start : start + _PROBES]
        low, count = equal_range(ordered, block)
        found = np.flatnonzero(count)
        low, count = low[found], count[found]
        for here in spans(count):
            many = count[here]
            places = ragged_ranges(low[here], many)
            yield order[places], start + np.repeat(found[here], many)


def collect(blocks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], rows: int) -> Pairs:
    """Pairs (one row, another, similarity) as they come; of a pair found twice the best."""
    parts = [(np.minimum(x, y) * rows + np.maximum(x, y), s) for x, y, s in blocks if len(x)]
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    code = np.concatenate([p for p, _ in parts])
    similarity = np.concatenate([s for _, s in parts]).astype(np.float32)
    order = np.lexsort((-similarity, code))
    code = code[order]
    once = order[np.r_[True, code[1:] != code[:-1]]]
    code = np.unique(code)
    return Pairs(code // rows, code % rows, similarity[once])


def distinct(x: np.ndarray, y: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs each once, the lesser row first."""
    code = np.unique(np.minimum(x, y) * rows + np.maximum(x, y))
    return code // rows, code % rows


def spans(count: np.ndarray) -> Iterator[slice]:
    """Slices of so many items whose counts add up to `MOST`, or of one that has more."""
    ends, start = np.cumsum(count), 0
    while start < len(count):
        most = (ends[start - 1] if start else 0) + MOST
        stop = max(start + 1, int(np.searchsorted(ends, most, "right")))
        yield slice(start, stop)
        start = stop
