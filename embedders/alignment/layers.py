"""Compare the layers of two encoders by mutual nearest neighbours, to choose a pair to align.

Huh et al. 2024 ("The Platonic representation hypothesis", ICML) measure how alike two encoders see
the same pairs: for each pair, the share of its k nearest neighbours in one that are also among the
k nearest in the other, on average. It needs no training and no common dimensions. STRUCTURE
(Groeger et al. 2025) chooses the layers to align by it.
"""

from collections.abc import Sequence

import numpy as np

from embedders.alignment.groups import components
from store.errors import InputError

NEIGHBOURS = 10


def mutual_neighbours(
    x: Sequence[np.ndarray],
    y: Sequence[np.ndarray],
    *,
    groups: np.ndarray | None = None,
    count: int = NEIGHBOURS,
) -> np.ndarray:
    """The mutual nearest neighbours of each layer of x with each layer of y.

    Args:
        x: layers of one encoder, (n, d) rows of n pairs each; widths may differ.
        y: layers of the other one, of the same pairs.
        groups: (n,) of what pairs have in common, as `align` takes them: pairs of one group are no
            neighbours of each other. None: every pair is a group.
        count: k, of neighbours.

    Returns:
        (len(x), len(y)) shares from 0 to 1. By chance, about count / n.

    Raises:
        InputError: there are no more than `count` groups, or rows are not finite.
    """
    labels = components(groups, len(x[0]))
    if len(np.unique(labels)) <= count:
        raise InputError(
            f"{len(np.unique(labels))} groups of pairs are too few to compare {count} neighbours"
        )
    ours, theirs = ([_neighbours(rows, labels, count) for rows in side] for side in (x, y))
    return np.array([[_overlap(a, b) for b in theirs] for a in ours])


def _neighbours(rows: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The nearest rows of other groups by cosine, (n, count)."""
    if not np.isfinite(rows).all():
        raise InputError("the rows of a layer must be finite")
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    unit = unit - unit.mean(axis=0)  # what all rows share tells none of them apart
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    similarity[labels[:, None] == labels] = -np.inf
    return np.argpartition(-similarity, count - 1, axis=1)[:, :count]


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """The mean share of common entries of rows (n, k) without repetitions."""
    return float((first[:, :, None] == second[:, None, :]).any(axis=2).mean())
