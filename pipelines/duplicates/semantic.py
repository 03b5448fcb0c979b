"""Find all pairs of vectors with a cosine of at least a threshold.

Vectors are assigned to the nearest of some centroids (spherical k-means on a seeded sample, as in
SemDeDup, Abbas et al. 2023). SemDeDup compares within a cell only. Here no pair is missed: with
angles as distances, a vector x that has a neighbour within theta in cell c

- is at most (radius of c) + theta away from the centroid of c, and
- is at most 2 theta farther away from the centroid of c than from its own.

A cell that fails either bound has no neighbour of x and is skipped. So the result is exact and
does not depend on the cells.
"""

from collections.abc import Iterator

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect_pairs
from store import spherical_kmeans
from store.spherical_kmeans import angles, nearest_centroids

_BLOCK_ROWS = 2048  # of a block of a matrix product
_ROUNDING = 1e-3  # radians, of float32 cosines


def pairs(vectors: np.ndarray, threshold: float, first: int = 0) -> Pairs:
    """Find the pairs of vectors with a cosine of at least `threshold`.

    Memory: the vectors, and blocks of 2,048 rows by 16,384 rows of a cell.

    Args:
        vectors: (n, d) float32 unit rows.
        threshold: cosine.
        first: pairs of two rows before it are left out.
    """
    rows, theta = len(vectors), float(np.arccos(min(threshold, 1.0))) + _ROUNDING
    centroids = _centroids(vectors)
    cell, angle = nearest_centroids(vectors, centroids)
    by_cell = [np.flatnonzero(cell == c) for c in range(len(centroids))]
    radius = np.array([angle[members].max(initial=0) for members in by_cell])

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(first, rows, _BLOCK_ROWS):
            block = np.arange(start, min(start + _BLOCK_ROWS, rows))
            to_centroids = angles(vectors[block] @ centroids.T)
            may_be_near = (to_centroids <= radius + theta) & (
                to_centroids <= angle[block, None] + 2 * theta
            )
            for c in np.flatnonzero(may_be_near.any(axis=0)):
                block_rows = block[may_be_near[:, c]]
                for begin in range(0, len(by_cell[c]), _BLOCK_ROWS * 8):
                    members = by_cell[c][begin : begin + _BLOCK_ROWS * 8]
                    cosine = vectors[block_rows] @ vectors[members].T
                    i, j = np.nonzero(cosine >= threshold)
                    x, y = block_rows[i], members[j]
                    once = (y < x) | ((y > x) & (y >= first))
                    yield x[once], y[once], cosine[i, j][once]

    return collect_pairs(blocks(), rows)


def _centroids(vectors: np.ndarray) -> np.ndarray:
    count = max(1, round(np.sqrt(len(vectors)) / 2))
    sample = np.random.default_rng(0).permutation(len(vectors))[
        : spherical_kmeans.ROWS_PER_CENTROID * count
    ]
    return spherical_kmeans.train_centroids(vectors[np.sort(sample)], count)
