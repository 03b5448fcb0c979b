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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.duplicates.pair_joins import Block, Rows, buffered
from pipelines.engine.array_files import ArrayFile
from pipelines.engine.ray_tasks import streams_in_order
from pipelines.engine.shared_rows import share
from store import spherical_kmeans
from store.arrays import ragged_ranges
from store.spherical_kmeans import angles, nearest_centroids

_BLOCK_ROWS = 2048  # of a block of a matrix product
_READ = 8 * _BLOCK_ROWS  # rows that are read at a time
_TRAINED_VALUES = 1 << 26  # of the vectors that centroids are trained on: 256 MB
_ROUNDING = 1e-3  # radians, of float32 cosines


def near_blocks(
    vectors: Rows, threshold: float, folder: Path, first: int = 0, *, on_ray: bool = False
) -> Iterator[Block]:
    """Find the pairs of vectors with a cosine of at least `threshold`.

    Memory: the centroids and what they are trained on, and blocks of 2,048 rows by 16,384 rows of a
    cell.

    Args:
        vectors: (n, d) float32 unit rows.
        threshold: cosine.
        folder: for files of the vectors in the order of the cells.
        first: pairs of two rows before it are left out.
        on_ray: compare by Ray tasks; else in this process.

    Returns:
        Blocks of pairs with their cosine. A pair may come twice.
    """
    theta = float(np.arccos(min(threshold, 1.0))) + _ROUNDING
    if first >= len(vectors):
        return
    search = _Search(_Cells.of(vectors, folder, on_ray), threshold, theta, first)
    blocks = search.cells.blocks(first)
    yield from streams_in_order(_near, search, blocks, on_ray=on_ray)


@dataclass(frozen=True)
class _Cells:
    """The vectors of each centroid's cell, one cell after the other: those nearest to it.

    Attributes:
        centroids: (k, d) float32.
        radius: (k,) of each cell, in radians.
        ends: (k,) the index after the last vector of each cell.
        rows: (n,) int64, the rows of the vectors.
        vectors: (n, d) float32.
    """

    centroids: np.ndarray
    radius: np.ndarray
    ends: np.ndarray
    rows: Rows
    vectors: Rows

    @classmethod
    def of(cls, vectors: Rows, folder: Path, on_ray: bool) -> "_Cells":
        """Assign vectors to cells."""
        centroids = _centroids(vectors)
        cells = ArrayFile(folder / "cells", (len(vectors),), np.int32)
        counts = np.zeros(len(centroids), np.int64)
        radius = np.zeros(len(centroids))
        start = 0
        blocks = (vectors[begin : begin + _READ] for begin in range(0, len(vectors), _READ))
        for cell, angle in streams_in_order(_assigned, centroids, blocks, on_ray=on_ray):
            cells[start : start + len(cell)] = cell
            counts += np.bincount(cell, minlength=len(centroids))
            np.maximum.at(radius, cell, angle)
            start += len(cell)
        ends = np.cumsum(counts)
        rows = ArrayFile(folder / "rows_of_cells", (len(vectors),), np.int64)
        ordered = ArrayFile(folder / "vectors_of_cells", vectors.shape, np.float32)
        next_index = ends - counts
        for start in range(0, len(vectors), _READ):
            cell = cells[start : start + _READ]
            order = np.argsort(cell, kind="stable")
            count = np.bincount(cell, minlength=len(centroids))
            index = ragged_ranges(next_index, count)
            rows[index] = start + order
            ordered[index] = vectors[start : start + _READ][order]
            next_index += count
        return cls(centroids, radius, ends, share(rows, on_ray), share(ordered, on_ray))

    def members(self, cell: int) -> Iterator[slice]:
        """The indices of the vectors of a cell, in blocks of 16,384."""
        start = int(self.ends[cell - 1]) if cell else 0
        for begin in range(start, int(self.ends[cell]), _READ):
            yield slice(begin, min(begin + _READ, int(self.ends[cell])))

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """The indices of the rows from `first` on, in blocks of 2,048: these have few near cells.

        They come cell by cell.
        """
        held = np.empty(0, np.int64)
        for start in range(0, len(self.rows), _READ):
            rows = self.rows[start : start + _READ]
            held = np.r_[held, start + np.flatnonzero(rows >= first)]
            while len(held) >= _BLOCK_ROWS:
                yield held[:_BLOCK_ROWS]
                held = held[_BLOCK_ROWS:]
        if len(held):
            yield held


@dataclass(frozen=True)
class _Search:
    """What each task reads. `theta`: the angle of the threshold, in radians."""

    cells: _Cells
    threshold: float
    theta: float
    first: int


def _assigned(
    centroids: np.ndarray, vectors: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    cell, angle = nearest_centroids(vectors, centroids)
    yield cell.astype(np.int32), angle


def _near(search: _Search, block: np.ndarray) -> Iterator[Block]:
    """The near pairs of (k,) indices of vectors."""
    return buffered(_near_of_cells(search, block))


def _near_of_cells(search: _Search, block: np.ndarray) -> Iterator[Block]:
    cells, theta, first = search.cells, search.theta, search.first
    rows, vectors = cells.rows[block], cells.vectors[block]
    to_centroids = angles(vectors @ cells.centroids.T)
    nearest = to_centroids.min(axis=1, keepdims=True)
    may_be_near = (to_centroids <= cells.radius + theta) & (to_centroids <= nearest + 2 * theta)
    for c in np.flatnonzero(may_be_near.any(axis=0)).tolist():
        chosen = may_be_near[:, c]
        some_rows, some_vectors = rows[chosen], vectors[chosen]
        for members in cells.members(c):
            cosine = some_vectors @ cells.vectors[members].T
            i, j = np.nonzero(cosine >= search.threshold)
            x, y = some_rows[i], cells.rows[members][j]
            once = (y < x) | ((y > x) & (y >= first))
            yield x[once], y[once], cosine[i, j][once]


def _centroids(vectors: Rows) -> np.ndarray:
    most = _TRAINED_VALUES // (spherical_kmeans.ROWS_PER_CENTROID * max(vectors.shape[1], 1))
    count = min(max(1, round(np.sqrt(len(vectors)) / 2)), max(most, 1))
    sample = np.random.default_rng(0).permutation(len(vectors))[
        : spherical_kmeans.ROWS_PER_CENTROID * count
    ]
    return spherical_kmeans.train_centroids(vectors[np.sort(sample)], count)
