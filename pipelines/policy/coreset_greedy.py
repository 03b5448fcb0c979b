"""Choose rows that represent the rows of one cell: greedy facility location, and k-center.

Both work on a dense array of a cell: values[j, m, i] compares row i with row j in modality m.
A row is represented in each modality by the chosen row that is best for it there, so a choice that
is good in one modality only scores badly.

- Facility location: the sum over rows and modalities of the similarity to the most similar chosen
  row. It is monotone and submodular, so k greedy choices reach 1 - 1/e = 63% of the best k
  (Nemhauser et al. 1978). Gains never rise, so most need not be computed again (lazy greedy, Minoux
  1978).
- k-center: the largest distance of a row to its nearest chosen row, where the distance is the
  largest of the modalities. The row that is farthest from those that are chosen is chosen next
  (Gonzalez 1985). If all rows have all modalities, the result is at most twice the smallest one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from store.spherical_kmeans import angles

Method = Literal["facility_location", "k_center"]
_EVALUATED = 8  # gains that are computed at a time
_BLOCK_ROWS = 64  # of the gains of all rows


@dataclass(frozen=True)
class Picks:
    """The rows of a cell that were chosen, in this order.

    Attributes:
        rows: (k,) int64.
        values: (k,) float64, which never rise: what each row adds to the sum; or how far it is from
            the rows that were chosen before it, in radians.
        gains: (k, modalities) float64, what each row adds to the sum of similarities.
        rest: (n,) float64, the value of each row that is not chosen, beside those that are.
    """

    rows: np.ndarray
    values: np.ndarray
    gains: np.ndarray
    rest: np.ndarray


def similarities(vectors: list[np.ndarray]) -> np.ndarray:
    """Compare the rows of a cell by cosine, where it is positive.

    Args:
        vectors: (n, d) float32 for each modality: unit rows, or zero where a part is missing.

    Returns:
        (n, modalities, n) float32, 0 to 1; 0 where a part is missing.
    """
    rows = len(vectors[0])
    out = np.empty((rows, len(vectors), rows), np.float32)
    for number, each in enumerate(vectors):
        np.clip(each @ each.T, 0, 1, out=out[:, number])
    return out


def distances(vectors: list[np.ndarray]) -> np.ndarray:
    """Compare the rows of a cell by angle, in the modality in which they are farthest apart.

    Args:
        vectors: as `similarities` takes them.

    Returns:
        (n, n) float32, the distance of row i from row j as value [j, i], in radians. Row i is as
        far as possible from one that lacks a part of it, and what it lacks itself costs nothing.
    """
    rows = len(vectors[0])
    out = np.zeros((rows, rows), np.float32)
    for each in vectors:
        has = np.asarray(each.any(axis=1))
        angle = np.where(has[:, None], angles(each @ each.T), np.pi)
        np.maximum(out, np.where(has, angle, 0), out=out)
    np.fill_diagonal(out, 0)
    return out


def facility_location(similarity: np.ndarray, most: int, least: float = -np.inf) -> Picks:
    """Choose rows greedily by what they add to the sum of similarities. Ties go to the first row.

    Args:
        similarity: (n, modalities, n), 0 or more; see `similarities`.
        most: how many rows.
        least: rows that add less are not chosen.
    """
    rows = len(similarity)
    best = np.zeros(similarity.shape[1:], similarity.dtype)

    def gains(of: np.ndarray) -> np.ndarray:
        return np.maximum(similarity[of] - best, 0).sum(axis=2).astype(np.float64)

    def all_gains() -> np.ndarray:
        blocks = np.split(np.arange(rows), range(_BLOCK_ROWS, rows, _BLOCK_ROWS))
        return np.concatenate([gains(block) for block in blocks])

    of_modality = all_gains()
    bound = of_modality.sum(axis=1)  # of each row's gain; exact where it is fresh
    is_fresh, is_chosen = np.ones(rows, bool), np.zeros(rows, bool)
    order: list[int] = []
    while len(order) < min(most, rows):
        # Rows are evaluated until the largest bound is exact. Where bounds are equal, an earlier
        # row is evaluated first, so that the choice is that of computing all gains.
        while not is_fresh[first := int(bound.argmax())]:
            some = np.argpartition(-bound, min(_EVALUATED, rows - 1))[:_EVALUATED]
            some = np.append(some[~is_fresh[some] & (some != first)], first)
            of_modality[some] = gains(some)
            bound[some] = of_modality[some].sum(axis=1)
            is_fresh[some] = True
        if bound[first] < least:
            break
        order.append(first)
        np.maximum(best, similarity[first], out=best)
        bound[first], is_chosen[first] = -np.inf, True
        is_fresh = is_chosen.copy()
    chosen = np.array(order, np.int64)
    picked = of_modality[chosen]
    return Picks(chosen, picked.sum(axis=1), picked, all_gains().sum(axis=1))


def k_center(
    distance: np.ndarray, similarity: np.ndarray, most: int, least: float = -np.inf
) -> Picks:
    """Choose the row that is farthest from the chosen ones, again and again. Ties go to the first.

    The first is the row whose farthest row is nearest. Its value is pi, the largest distance.

    Args:
        distance: (n, n); see `distances`.
        similarity: (n, modalities, n), for the gains.
        most: how many rows.
        least: rows that are nearer are not chosen.
    """
    rows, modalities, _ = similarity.shape
    nearest = np.full(rows, np.pi)
    best = np.zeros(similarity.shape[1:], similarity.dtype)
    order: list[int] = []
    values: list[float] = []
    gains: list[np.ndarray] = []
    row = int(distance.max(axis=1).argmin())
    while len(order) < min(most, rows) and nearest[row] >= least:
        order.append(row)
        values.append(float(nearest[row]))
        gains.append(np.maximum(similarity[row] - best, 0).sum(axis=1, dtype=np.float64))
        np.maximum(best, similarity[row], out=best)
        np.minimum(nearest, distance[row], out=nearest)
        nearest[row] = -1
        row = int(nearest.argmax())
    of_modality = np.array(gains).reshape(-1, modalities)
    return Picks(np.array(order, np.int64), np.array(values), of_modality, nearest)
