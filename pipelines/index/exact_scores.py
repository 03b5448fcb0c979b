"""The exact best scores of queries over a vector column, which recall is measured against."""

import lance
import numpy as np

from store.arrow import as_matrix

_ROWS = 16_384  # that are scored at once


def best_scores(
    table: lance.LanceDataset, column: str, queries: np.ndarray, depth: int
) -> np.ndarray:
    """Score all rows of a column, block by block.

    Args:
        table: a gallery.
        column: of vectors (width,).
        queries: (m, width).
        depth: how many scores to keep.

    Returns:
        (m, k) float32, the best scores of each query, descending; k is `depth`, or the number of
        rows if there are fewer.
    """
    best = np.empty((len(queries), 0), np.float32)
    for batch in table.scanner(columns=[column], batch_size=_ROWS).to_batches():
        scores = queries @ as_matrix(batch[column]).T
        both = np.concatenate([best, scores], axis=1)
        if both.shape[1] > depth:
            both = np.partition(both, both.shape[1] - depth, axis=1)[:, -depth:]
        best = both
    return -np.sort(-best, axis=1)
