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
from pathlib import Path

import numpy as np

from pipelines.duplicates.pair_joins import Block, Rows
from pipelines.engine.array_files import ArrayFile
from store import spherical_kmeans
from store.arrays import ragged_ranges
from store.spherical_kmeans import angles, nearest_centroids

_BLOCK_ROWS = 2048  # of a block of a matrix product
_READ = 8 * _BLOCK_ROWS  # rows that are read at a time
_TRAINED_VALUES = 1 << 26  # of the vectors that centroids are trained on: 256 MB
_ROUNDING = 1e-3  # radians, of float32 cosines


def near_blocks(vectors: Rows, threshold: float, folder: Path, first: int = 0) -> Iterator[Block]:
    """Find the pairs of vectors with a cosine of at least `threshold`.

    Memory: the centroids and what they are trained on, and blocks of 2,048 rows by 16,384 rows of a
    cell.

    Args:
        vectors: (n, d) float32 unit rows.
        threshold: cosine.
        folder: for files of the rows of the cells.
        first: pairs of two rows before it are left out.

    Returns:
        Blocks of pairs with their cosine. A pair may come twice.
    """
    rows, theta = len(vectors), float(np.arccos(min(threshold, 1.0))) + _ROUNDING
    if first >= rows:
        return
    centroids = _centroids(vectors)
    cells = _Cells(vectors, centroids, folder)
    for block in cells.blocks(first):
        block_vectors = vectors[block]
        to_centroids = angles(block_vectors @ centroids.T)
        nearest = to_centroids.min(axis=1, keepdims=True)
        may_be_near = (to_centroids <= cells.radius + theta) & (to_centroids <= nearest + 2 * theta)
        for c in np.flatnonzero(may_be_near.any(axis=0)).tolist():
            block_rows = block[may_be_near[:, c]]
            some_vectors = block_vectors[may_be_near[:, c]]
            for members in cells.members(c):
                cosine = some_vectors @ vectors[members].T
                i, j = np.nonzero(cosine >= threshold)
                x, y = block_rows[i], members[j]
                once = (y < x) | ((y > x) & (y >= first))
                yield x[once], y[once], cosine[i, j][once]


class _Cells:
    """The rows of each centroid's cell, in a file: those nearest to it."""

    def __init__(self, vectors: Rows, centroids: np.ndarray, folder: Path):
        cells = ArrayFile(folder / "cells", (len(vectors),), np.int32)
        counts = np.zeros(len(centroids), np.int64)
        self.radius = np.zeros(len(centroids))  # of each cell, in radians
        for start in range(0, len(vectors), _READ):
            cell, angle = nearest_centroids(vectors[start : start + _READ], centroids)
            cells[start : start + len(cell)] = cell
            counts += np.bincount(cell, minlength=len(centroids))
            np.maximum.at(self.radius, cell, angle)
        self._ends = np.cumsum(counts)
        self._rows = ArrayFile(folder / "rows_of_cells", (len(vectors),), np.int64)
        begin = self._ends - counts
        for start in range(0, len(vectors), _READ):
            cell = cells[start : start + _READ]
            order = np.argsort(cell, kind="stable")
            count = np.bincount(cell, minlength=len(centroids))
            self._rows[ragged_ranges(begin, count)] = start + order
            begin += count

    def members(self, cell: int) -> Iterator[np.ndarray]:
        """The rows of a cell, in blocks of 16,384."""
        start = int(self._ends[cell - 1]) if cell else 0
        for begin in range(start, int(self._ends[cell]), _READ):
            yield self._rows[begin : min(begin + _READ, int(self._ends[cell]))]

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """The rows from `first` on, in blocks of 2,048, cell by cell: these have few near cells."""
        held = np.empty(0, np.int64)
        for start in range(0, len(self._rows), _READ):
            rows = self._rows[start : start + _READ]
            held = np.r_[held, rows[rows >= first]]
            while len(held) >= _BLOCK_ROWS:
                yield held[:_BLOCK_ROWS]
                held = held[_BLOCK_ROWS:]
        if len(held):
            yield held


def _centroids(vectors: Rows) -> np.ndarray:
    most = _TRAINED_VALUES // (spherical_kmeans.ROWS_PER_CENTROID * max(vectors.shape[1], 1))
    count = min(max(1, round(np.sqrt(len(vectors)) / 2)), max(most, 1))
    sample = np.random.default_rng(0).permutation(len(vectors))[
        : spherical_kmeans.ROWS_PER_CENTROID * count
    ]
    return spherical_kmeans.train_centroids(vectors[np.sort(sample)], count)
