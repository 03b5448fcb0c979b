"""Choose a coreset of any number of rows: cell by cell, in memory that a cell bounds.

Rows are divided into cells of at most 2,048 by spherical k-means over all modalities, in several
levels. In each cell, rows are chosen one after another until their value is lower than that of
`count` rows of the cells so far. At the end, the `count` rows with the largest values are kept.
Since values never rise within a cell, this is the greedy choice over all cells at once, where a row
is represented by rows of its own cell only. So with one cell (at most 2,048 rows), facility
location reaches 63% of the best sum, and k-center at most twice the best radius; with several, the
same of what is best if each cell represents itself.

Memory: a cell's comparisons, 16 MB a modality, with two copies; and 48 bytes for each row of all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pipelines.engine.array_files import ArrayFile
from pipelines.policy.coreset_greedy import (
    Method,
    Picks,
    distances,
    facility_location,
    k_center,
    similarities,
)
from store.spherical_kmeans import ROWS_PER_CENTROID, nearest_centroids, train_centroids

Rows: TypeAlias = np.ndarray | ArrayFile  # read by slices and by indices
MOST_OF_CELL = 2048  # rows
_BRANCHES = 64  # cells that a cell is divided into
_READ_ROWS = 8192  # that are read at a time


@dataclass(frozen=True)
class Coreset:
    """The rows that were chosen.

    Attributes:
        chosen: (n,) bool.
        values: (n,) float64, what each row adds to the chosen ones; see `Picks`. For a row that is
            not chosen, beside those that were chosen in its cell; 0 for one that is not usable.
        least: the smallest value of a chosen row; NaN if there is none.
        coverage: for each modality the mean similarity of a row to the chosen row of its cell that
            is most similar, 0 to 1. NaN for a modality without vectors.
    """

    chosen: np.ndarray
    values: np.ndarray
    least: float
    coverage: list[float]


def choose(
    vectors: Sequence[Rows],
    method: Method,
    count: int,
    usable: np.ndarray | None = None,
    most_of_cell: int = MOST_OF_CELL,
) -> Coreset:
    """Choose `count` rows that represent all rows. The same rows in the same order give the same.

    Args:
        vectors: (n, d) float32 for each modality: unit rows, or zero where a part is missing. The
            first rows are a random sample: centroids are trained on them.
        method: `facility_location` or `k_center`.
        count: at least 1.
        usable: (n,) bool, the rows that are compared; None: all.
        most_of_cell: rows.
    """
    values = np.zeros(len(vectors[0]))
    rows = np.arange(len(values)) if usable is None else np.flatnonzero(usable)
    picked, gained = [np.empty(0, np.int64)], [np.empty((0, len(vectors)))]
    largest = np.empty(0)  # the `count` largest values so far
    for cell in cells(vectors, rows, most_of_cell):
        least = largest.min() if len(largest) == count else -np.inf
        picks = _pick([each[cell] for each in vectors], method, count, least)
        values[cell] = picks.rest
        values[cell[picks.rows]] = picks.values
        picked.append(cell[picks.rows])
        gained.append(picks.gains)
        largest = np.concatenate([largest, picks.values])
        if len(largest) > count:
            largest = np.partition(largest, len(largest) - count)[-count:]
    candidates, gains = np.concatenate(picked), np.concatenate(gained)
    order = np.lexsort((candidates, -values[candidates]))[:count]
    chosen = np.zeros(len(values), bool)
    chosen[candidates[order]] = True
    least = float(values[candidates[order[-1]]]) if len(order) else float("nan")
    sums, totals = gains[order].sum(axis=0), [_count_present(each) for each in vectors]
    coverage = [s / n if n else float("nan") for s, n in zip(sums.tolist(), totals, strict=True)]
    return Coreset(chosen, values, least, coverage)


def cells(
    vectors: Sequence[Rows], rows: np.ndarray, most: int = MOST_OF_CELL
) -> Iterator[np.ndarray]:
    """Divide some rows, ascending, into cells of at most `most` rows: (k,) ascending int64 each."""
    waiting = [rows] if len(rows) else []
    while waiting:
        rows = waiting.pop()
        if len(rows) <= most:
            yield rows
            continue
        count = min(_BRANCHES, -(-2 * len(rows) // most))
        centroids = train_centroids(joint(vectors, rows[: ROWS_PER_CENTROID * count]), count)
        cell = np.concatenate(
            [
                nearest_centroids(joint(vectors, rows[start : start + _READ_ROWS]), centroids)[0]
                for start in range(0, len(rows), _READ_ROWS)
            ]
        )
        sizes = np.bincount(cell, minlength=count)
        if sizes.max() == len(rows):  # equal rows, which no centroid separates
            yield from np.array_split(rows, -(-len(rows) // most))
            continue
        ends = np.cumsum(sizes)[:-1]
        parts = np.split(rows[np.argsort(cell, kind="stable")], ends)
        waiting += [part for part in reversed(parts) if len(part)]


def joint(vectors: Sequence[Rows], rows: np.ndarray) -> np.ndarray:
    """The vectors of all modalities side by side, (k, sum of d), of length 1 or zero."""
    side_by_side = np.concatenate([each[rows] for each in vectors], axis=1)
    length = np.linalg.norm(side_by_side, axis=1, keepdims=True)
    return np.divide(side_by_side, length, out=side_by_side, where=length > 0)


def _pick(vectors: list[np.ndarray], method: Method, count: int, least: float) -> Picks:
    similarity = similarities(vectors)
    if method == "facility_location":
        return facility_location(similarity, count, least)
    return k_center(distances(vectors), similarity, count, least)


def _count_present(vectors: Rows) -> int:
    blocks = range(0, len(vectors), _READ_ROWS)
    return sum(int(vectors[n : n + _READ_ROWS].any(axis=1).sum()) for n in blocks)
