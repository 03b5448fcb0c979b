"""Vectors that point nearly the same way: all pairs with a cosine of `threshold` or more.

Rows are dealt out to the nearest of some centroids (spherical k-means on a seeded sample, as in
SemDeDup, Abbas et al. 2023, which looks within cells alone). Here borders cost nothing: with angles
as distances, a row x that has a neighbour within theta in cell c is within its radius + theta of
c's centroid, and c's centroid is at most 2 theta farther from x than x's own. Cells that fail
either bound cannot hold a neighbour, so the answer is exact and does not depend on the cells.
"""

from collections.abc import Iterator

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect
from store import spherical_kmeans
from store.spherical_kmeans import angles, nearest

_ROWS = 2048  # of a block of a product
_ROUNDING = 1e-3  # radians, of float32 cosines


def pairs(vectors: np.ndarray, threshold: float, first: int = 0) -> Pairs:
    """Pairs of unit rows, float32 (n, d), of which at least one is at `first` or after it.

    Memory: the vectors, and blocks of 2,048 rows by the cell they are compared with.
    """
    rows, theta = len(vectors), float(np.arccos(min(threshold, 1.0))) + _ROUNDING
    centroids = _centroids(vectors)
    cell, angle = nearest(vectors, centroids)
    by_cell = [np.flatnonzero(cell == c) for c in range(len(centroids))]
    radius = np.array([angle[members].max(initial=0) for members in by_cell])

    def found() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(first, rows, _ROWS):
            block = np.arange(start, min(start + _ROWS, rows))
            to = angles(vectors[block] @ centroids.T)
            may = (to <= radius + theta) & (to <= angle[block, None] + 2 * theta)
            for c in np.flatnonzero(may.any(axis=0)):
                mine = block[may[:, c]]
                for at in range(0, len(by_cell[c]), _ROWS * 8):
                    members = by_cell[c][at : at + _ROWS * 8]
                    cosine = vectors[mine] @ vectors[members].T
                    i, j = np.nonzero(cosine >= threshold)
                    x, y = mine[i], members[j]
                    other = (y < x) | ((y > x) & (y >= first))
                    yield x[other], y[other], cosine[i, j][other]

    return collect(found(), rows)


def _centroids(vectors: np.ndarray) -> np.ndarray:
    count = max(1, round(np.sqrt(len(vectors)) / 2))
    some = np.random.default_rng(0).permutation(len(vectors))[: spherical_kmeans.SAMPLE * count]
    return spherical_kmeans.train(vectors[np.sort(some)], count)
