"""How well right answers are ranked, for queries with one or several of them.

Everything here is worked out from the 1-based ranks of the right answers: `right_ranks` finds
them in full scores, `listed_ranks` in result lists, where an answer that is not listed has rank
infinity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import ragged_ranges
from store.errors import InputError


@dataclass(frozen=True)
class Relevant:
    """The right gallery rows of each of m queries, flat: `rows[i]` is right for `query[i]`.

    `query` ascends; `count` (m,) is the number of right rows of each query.
    """

    query: np.ndarray
    rows: np.ndarray
    count: np.ndarray

    @staticmethod
    def of(relevant: Any, gallery: int | None = None) -> "Relevant":
        """From an (m,) integer array, one right row a query, or a sequence of m lists of rows.

        A row named twice counts once. Raises InputError for rows outside 0..gallery-1.
        """
        if isinstance(relevant, Relevant):
            return relevant
        if isinstance(relevant, np.ndarray) and relevant.dtype.kind in "iu" and relevant.ndim == 1:
            lists: Sequence[Any] = list(relevant[:, None])
        else:
            lists = [np.unique(np.asarray(right, dtype=np.int64)) for right in relevant]
        count = np.array([len(right) for right in lists], dtype=np.int64)
        rows = np.concatenate([*lists, np.empty(0, np.int64)]).astype(np.int64)
        if gallery is not None and rows.size and not 0 <= rows.min() <= rows.max() < gallery:
            raise InputError(
                f"relevant names gallery rows {rows.min()} to {rows.max()}, "
                f"but the gallery has rows 0 to {gallery - 1}"
            )
        return Relevant(np.repeat(np.arange(len(count)), count), rows, count)

    def part(self, start: int, stop: int) -> "Relevant":
        """The right rows of queries start to stop - 1, renumbered from 0."""
        low, high = np.searchsorted(self.query, (start, stop))
        return Relevant(self.query[low:high] - start, self.rows[low:high], self.count[start:stop])


def right_ranks(scores: np.ndarray, relevant: Relevant) -> np.ndarray:
    """Ranks of all right answers in scores (m, n), in the order of `relevant`; ties by index."""
    ranks = np.empty(relevant.query.size)
    columns = np.arange(scores.shape[1])
    # Answer by answer of each query: as many passes as the query with most right answers has.
    nth = ragged_ranges(0, relevant.count)
    for i in range(int(relevant.count.max(initial=0))):
        at = np.flatnonzero(nth == i)
        query, row = relevant.query[at], relevant.rows[at]
        mine = scores if at.size == scores.shape[0] else scores[query]
        own = scores[query, row][:, None]
        tied = (mine == own) & (columns < row[:, None])
        ranks[at] = 1 + (mine > own).sum(axis=1) + tied.sum(axis=1)
    return ranks


def listed_ranks(lists: np.ndarray, relevant: Relevant) -> np.ndarray:
    """Ranks of all right answers in result lists (m, k) of gallery rows, best first, -1 padding;
    infinity for an answer that is not listed."""
    found = np.asarray(lists)[relevant.query] == relevant.rows[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)


def first_ranks(ranks: np.ndarray, relevant: Relevant) -> np.ndarray:
    """(m,) rank of the best right answer of each query; infinity where it has none."""
    best = np.full(relevant.count.size, np.inf)
    np.minimum.at(best, relevant.query, ranks)
    return best


def recall_at(first: np.ndarray, k: int) -> np.ndarray:
    """(m,) 1 where some right answer is among the top k: R@k is its mean."""
    return (first <= k).astype(float)


def reciprocal_rank(first: np.ndarray) -> np.ndarray:
    """(m,) 1 / rank of the best right answer, 0 for infinity: MRR is its mean."""
    return 1 / first


def median_rank(first: np.ndarray) -> float:
    """Median over queries of the rank of the best right answer."""
    return float(np.median(first))


def average_precision(ranks: np.ndarray, relevant: Relevant) -> np.ndarray:
    """(m,) average precision, NaN for a query without right answers: mAP is its mean."""
    order = np.lexsort((ranks, relevant.query))
    nth = ragged_ranges(0, relevant.count) + 1
    total = np.bincount(relevant.query, nth / ranks[order], relevant.count.size)
    return np.divide(
        total, relevant.count, out=np.full(total.shape, np.nan), where=relevant.count > 0
    )


def ndcg(ranks: np.ndarray, relevant: Relevant, k: int | None = None) -> np.ndarray:
    """(m,) normalised discounted cumulative gain over the top k (all where None), with a gain of
    one for each right answer (Jarvelin and Kekalainen 2002); NaN without right answers."""
    limit = np.inf if k is None else k
    gain = np.where(ranks <= limit, 1 / np.log2(1 + ranks), 0)
    total = np.bincount(relevant.query, gain, relevant.count.size)
    longest = int(relevant.count.max(initial=0))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2 + np.arange(longest)))])
    best = ideal[np.minimum(relevant.count, longest if k is None else k)]
    return np.divide(total, best, out=np.full(total.shape, np.nan), where=best > 0)
