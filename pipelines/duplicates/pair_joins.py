"""Joins on equal keys, and pairs of rows: the building blocks of every near-duplicate search.

A search compares rows of one array. Rows that were compared before come first. `first` is the
index of the first new row, and pairs of two rows before it are left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import numpy as np

from pipelines.engine.array_files import ArrayFile
from pipelines.engine.shared_rows import SharedRows
from store.arrays import equal_range, ragged_ranges

BLOCK_PAIRS = 1 << 21  # candidate pairs of a block: about 100 MB with what is computed from them
PROBES = 1 << 18  # that are looked up at a time
_BUFFERED = 1 << 16
LocalRows: TypeAlias = np.ndarray | ArrayFile  # read and written by slices and by indices
Rows: TypeAlias = LocalRows | SharedRows  # read by slices and by indices
# (k,) rows, (k,) other rows and (k,) float32 similarities: pairs of near rows.
Block: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
Columns = TypeVar("Columns", bound=tuple[np.ndarray, ...])


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, sorted, each pair once.

    Attributes:
        a: (k,) int64, the smaller row.
        b: (k,) int64, the larger row.
        similarity: (k,) float32.
    """

    a: np.ndarray
    b: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.a)


def equal_join(table: np.ndarray, probes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find all pairs of equal values in two arrays.

    Args:
        table: (n,) keys in any order.
        probes: (m,) keys of the same type, in any order.

    Returns:
        Blocks of int64 indices into `table` and into `probes`, (k,) each. A block has at most
        `BLOCK_PAIRS` pairs, unless a single probe has more.
    """
    order = np.argsort(table)
    ordered = table[order]
    for start in range(0, len(probes), PROBES):
        for rows, probe in sorted_join(order, ordered, probes[start : start + PROBES]):
            yield rows, start + probe


def sorted_join(
    order: np.ndarray, ordered: np.ndarray, probes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `equal_join`, with a table that is sorted already.

    Args:
        order: (n,) the permutation that sorts the table.
        ordered: (n,) the sorted keys.
        probes: (m,) keys; for speed, at most `PROBES`.
    """
    first, count = equal_range(ordered, probes)
    matched = np.flatnonzero(count)
    first, count = first[matched], count[matched]
    for block in bounded_slices(count):
        rows = order[ragged_ranges(first[block], count[block])]
        yield rows, np.repeat(matched[block], count[block])


def buffered(blocks: Iterable[Columns]) -> Iterator[Columns]:
    """The same rows in fewer blocks, of at least 65,536 rows but for the last one."""
    held, count = list[Columns](), 0
    for block in blocks:
        if len(block[0]):
            held.append(block)
            count += len(block[0])
        if count >= _BUFFERED:
            yield _concatenated(held)
            held, count = [], 0
    if held:
        yield _concatenated(held)


def collect_pairs(blocks: Iterable[Block], rows: int) -> Pairs:
    """Collect blocks of pairs (one row, another row, similarity), (k,) each.

    Of a pair that comes several times, the highest similarity is kept.

    Args:
        rows: the number of rows that are compared.
    """
    parts = [(np.minimum(x, y) * rows + np.maximum(x, y), s) for x, y, s in blocks if len(x)]
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    code = np.concatenate([p for p, _ in parts])
    similarity = np.concatenate([s for _, s in parts]).astype(np.float32)
    order = np.lexsort((-similarity, code))
    code = code[order]
    is_first = np.r_[True, code[1:] != code[:-1]]
    code = code[is_first]
    return Pairs(code // rows, code % rows, similarity[order[is_first]])


def distinct_pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pairs among (k,) rows x and y, sorted, the smaller row first."""
    rows = int(max(x.max(initial=0), y.max(initial=0))) + 1
    code = np.unique(np.minimum(x, y) * rows + np.maximum(x, y))
    return code // rows, code % rows


def bounded_slices(count: np.ndarray) -> Iterator[slice]:
    """Cut items into slices whose counts add up to at most `BLOCK_PAIRS`.

    Args:
        count: (n,) of each item. An item with more gets a slice of its own.
    """
    ends, start = np.cumsum(count), 0
    while start < len(count):
        most = (ends[start - 1] if start else 0) + BLOCK_PAIRS
        stop = max(start + 1, int(np.searchsorted(ends, most, "right")))
        yield slice(start, stop)
        start = stop


def _concatenated(blocks: list[Columns]) -> Columns:
    return cast(Columns, tuple(map(np.concatenate, zip(*blocks, strict=True))))
