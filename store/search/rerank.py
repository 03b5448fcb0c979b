"""Reranks a list of results: each sample once, without near-duplicates, or spread over items."""

import numpy as np
import pyarrow as pa


def first_of_each(values: pa.ChunkedArray) -> np.ndarray:
    """The rows with the first of equal values, ascending."""
    codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1])


def collapse(vectors: np.ndarray, threshold: float) -> np.ndarray:
    """Keep the first of rows that are near-duplicates.

    Args:
        vectors: (n, d) unit rows, best first.
        threshold: rows whose cosine with a kept row is at least this are dropped.

    Returns:
        The kept rows, ascending.
    """
    kept: list[int] = []
    similarities = vectors @ vectors.T
    for row in range(len(vectors)):
        if not kept or similarities[row, kept].max() < threshold:
            kept.append(row)
    return np.array(kept, np.int64)


def spread(vectors: np.ndarray, scores: np.ndarray, share: float, count: int) -> np.ndarray:
    """Order rows by maximal marginal relevance (Carbonell and Goldstein 1998, SIGIR).

    Each step takes the row with the largest share * score - (1 - share) * similarity, where the
    similarity is the largest cosine with a row that was taken before.

    Args:
        vectors: (n, d) unit rows.
        scores: (n,), scaled to the range of cosines.
        share: of the scores, from 0 to 1.
        count: how many rows to take.

    Returns:
        The rows in the order in which they were taken.
    """
    nearest = np.zeros(len(vectors), np.float32)
    free = np.ones(len(vectors), bool)
    taken: list[int] = []
    while len(taken) < min(count, len(vectors)):
        gain = np.where(free, share * scores - (1 - share) * nearest, -np.inf)
        row = int(np.argmax(gain))
        taken.append(row)
        free[row] = False
        nearest = np.maximum(nearest, vectors @ vectors[row])
    return np.array(taken, np.int64)
