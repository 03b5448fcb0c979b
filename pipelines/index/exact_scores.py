"""The best rows of queries over a vector column by an exact scan: recall is measured by them."""

from collections.abc import Sequence
from typing import NamedTuple

import lance
import numpy as np

from store.search.batch_scan import scan_best
from store.tables.indexes import DEEPEST

_TIES = 64  # more rows than asked for, which may be as good as the last one
# A depth is measured on this part of the queries: deeper results have more ranks. With a quarter
# for 100 rows, settings that are chosen on one half of the queries miss the bound on the other.
_SHARES = {10: 1, 100: 2, DEEPEST: 8}


class BestRows(NamedTuple):
    """The best rows of m queries, in descending order of their scores.

    Attributes:
        scores: (m, k) float32.
        ids: (m, k) uint64, row ids.
    """

    scores: np.ndarray
    ids: np.ndarray

    def some(self, queries: slice) -> "BestRows":
        """Those of some of the queries."""
        return BestRows(self.scores[queries], self.ids[queries])


def queries_at(depth: int, queries: int) -> int:
    """How many of some queries, at least two, a depth is measured on."""
    return max(2, queries // _SHARES[depth])


def best_rows(
    table: lance.LanceDataset, column: str, queries: np.ndarray, depths: Sequence[int]
) -> dict[int, BestRows]:
    """Scan a column once for the best rows of all queries.

    Args:
        table: a gallery.
        column: of vectors (width,).
        queries: (m, width) float32, at least 2.
        depths: how many rows are asked for; a few more are kept.

    Returns:
        By depth, the best rows of the first queries (`queries_at`); all rows if there are fewer.
    """
    most = {depth: queries_at(depth, len(queries)) for depth in depths}
    counts = np.zeros(max(most.values(), default=0), np.int64)
    for depth in sorted(depths):
        counts[: most[depth]] = depth + _TIES
    best = scan_best(table, column, queries[: len(counts)], counts, None)
    starts = np.cumsum(best.lengths) - best.lengths
    rows: dict[int, BestRows] = {}
    for depth, own in most.items():
        length = min(depth + _TIES, best.lengths[:own].min())
        places = starts[:own, None] + np.arange(length)
        rows[depth] = BestRows(best.scores[places], best.row_ids[places])
    return rows
