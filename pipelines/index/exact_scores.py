"""The best rows of queries over a vector column by an exact scan: recall is measured by them."""

from typing import NamedTuple

import lance
import numpy as np

from store.arrow import as_matrix

_ROWS = 16_384  # that are scored at once
_TIES = 64  # more rows than asked for, which may be as good as the last one


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


def best_rows(table: lance.LanceDataset, column: str, queries: np.ndarray, depth: int) -> BestRows:
    """Score all rows of a column, block by block.

    Args:
        table: a gallery.
        column: of vectors (width,).
        queries: (m, width).
        depth: how many rows are asked for; a few more are kept.

    Returns:
        The best rows of each query; all if there are fewer.
    """
    kept = depth + _TIES
    best = np.empty((len(queries), 0), np.float32)
    ids = np.empty((len(queries), 0), np.uint64)
    scanner = table.scanner(columns=[column], with_row_id=True, batch_size=_ROWS)
    for batch in scanner.to_batches():
        best = np.concatenate([best, queries @ as_matrix(batch[column]).T], axis=1)
        own = np.broadcast_to(batch["_rowid"].to_numpy(), (len(queries), batch.num_rows))
        ids = np.concatenate([ids, own], axis=1)
        if best.shape[1] > kept:
            order = np.argpartition(best, best.shape[1] - kept, axis=1)[:, -kept:]
            best, ids = np.take_along_axis(best, order, 1), np.take_along_axis(ids, order, 1)
    order = np.argsort(-best, axis=1, kind="stable")
    return BestRows(np.take_along_axis(best, order, 1), np.take_along_axis(ids, order, 1))
