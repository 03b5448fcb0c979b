"""Scans that read every row once: one column for many queries, or several columns for one score.

A scan for one query reads every row; to multiply what was read by all queries costs little more.
"""

from collections.abc import Callable
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from store.arrays import ragged_ranges
from store.arrow import as_matrix

_TILE = 8_192  # rows
_QUERIES = 256  # in one pass


class Best(NamedTuple):
    """The best rows of each query, in the order of queries and then of scores.

    Attributes:
        row_ids: (n,) uint64, of Lance.
        scores: (n,) float32.
        lengths: (q,) int64, how many rows each query has.
    """

    row_ids: np.ndarray
    scores: np.ndarray
    lengths: np.ndarray


def scan_best(
    table: lance.LanceDataset,
    column: str,
    queries: np.ndarray,
    count: int | np.ndarray,
    where: str | None,
) -> Best:
    """Find the rows with the largest dot products.

    Args:
        table: to scan.
        column: of vectors (d,) float32.
        queries: (q, d) float32.
        count: the largest number of rows, of all queries or (q,) of each.
        where: a condition that rows must satisfy.
    """
    counts = np.broadcast_to(count, len(queries))
    blocks = [slice(start, start + _QUERIES) for start in range(0, len(queries), _QUERIES)]
    passes = [_one_pass(table, column, queries[own], counts[own], where) for own in blocks]
    return Best(*(np.concatenate(parts) for parts in zip(*passes, strict=True)))


def _one_pass(
    table: lance.LanceDataset,
    column: str,
    queries: np.ndarray,
    counts: np.ndarray,
    where: str | None,
) -> Best:
    owners = np.zeros(0, np.int64)
    row_ids = np.zeros(0, np.uint64)
    scores = np.zeros(0, np.float32)
    # A row must score more than this to be among the best so far.
    bounds = np.full(len(queries), -np.inf, np.float32)
    scanner = table.scanner(columns=[column], filter=where, with_row_id=True, batch_size=_TILE)
    for tile in scanner.to_batches():
        products = queries @ as_matrix(tile[column]).T
        is_better = products > bounds[:, None]
        for count in np.unique(counts[np.isneginf(bounds)]).tolist():
            # Else all rows of the first tile would be sorted. Of equal scores, all stay for now.
            own = np.flatnonzero(counts == count)
            if products.shape[1] > count:
                least = np.partition(products[own], -count, axis=1)[:, -count]
                is_better[own] &= products[own] >= least[:, None]
        # Of the flat array, numpy finds the few nonzero values in a fifth of the time.
        query, row = np.divmod(np.flatnonzero(is_better), products.shape[1])
        if not len(query):
            continue
        owners = np.concatenate([owners, query])
        row_ids = np.concatenate([row_ids, tile["_rowid"].to_numpy()[row]])
        scores = np.concatenate([scores, products[query, row]])
        order = np.lexsort((-scores, owners))  # stable: of equal scores, the first rows stay
        lengths = np.bincount(owners, minlength=len(queries))
        kept = order[ragged_ranges(0, lengths) < np.repeat(counts, lengths)]
        owners, row_ids, scores = owners[kept], row_ids[kept], scores[kept]
        lengths = np.minimum(lengths, counts)
        is_full = lengths == counts
        bounds[is_full] = scores[np.cumsum(lengths)[is_full] - 1]
    return Best(row_ids, scores, np.bincount(owners, minlength=len(queries)))


def scan_joined(
    table: lance.LanceDataset,
    columns: list[str],
    score: Callable[[pa.Table], np.ndarray],
    count: int,
    where: str | None,
) -> list[int]:
    """The row ids of the best rows by a score of several columns, best first.

    Args:
        table: to scan.
        columns: that `score` reads.
        score: the scores (n,) of rows.
        count: the largest number of rows.
        where: a condition that rows must satisfy.
    """
    row_ids, scores = np.zeros(0, np.uint64), np.zeros(0, np.float32)
    scanner = table.scanner(columns=columns, filter=where, with_row_id=True, batch_size=_TILE)
    for tile in scanner.to_batches():
        values = score(pa.Table.from_batches([tile]))
        better = values > (scores[-1] if len(scores) == count else -np.inf)
        scores = np.concatenate([scores, values[better]])
        row_ids = np.concatenate([row_ids, tile["_rowid"].to_numpy()[better]])
        order = np.argsort(-scores, kind="stable")[:count]
        row_ids, scores = row_ids[order], scores[order]
    return [int(row_id) for row_id in row_ids]
