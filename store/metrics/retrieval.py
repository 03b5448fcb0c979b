"""Measures of retrieval, for queries with one or several relevant items.

All measures are computed from the 1-based ranks of the relevant items. `relevant_ranks` computes
them from full scores, `list_ranks` from result lists, where an item that is not in the list has an
infinite rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import count_true, members, ragged_ranges
from store.errors import InputError


@dataclass(frozen=True)
class Relevant:
    """The relevant gallery rows of each of m queries, as flat arrays.

    Attributes:
        query: query of each relevant row, ascending.
        rows: `rows[i]` is relevant for `query[i]`.
        count: (m,) number of relevant rows of each query.
    """

    query: np.ndarray
    rows: np.ndarray
    count: np.ndarray

    @staticmethod
    def of(relevant: Any, gallery: int | None = None) -> "Relevant":
        """Make it from an array or from lists.

        Args:
            relevant: an (m,) integer array, one relevant row per query; a sequence of m lists of
                rows, in which a repeated row counts once; or a `Relevant`, which is returned.
            gallery: number of gallery rows, if rows are to be validated.

        Raises:
            InputError: a row is not in 0 to gallery - 1.
        """
        if isinstance(relevant, Relevant):
            return relevant
        if isinstance(relevant, np.ndarray) and relevant.dtype.kind in "iu" and relevant.ndim == 1:
            lists: Sequence[Any] = list(relevant[:, None])
        else:
            lists = [np.asarray(rows, dtype=np.int64).reshape(-1) for rows in relevant]
        rows = np.concatenate([*lists, np.empty(0, np.int64)]).astype(np.int64)
        query = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
        order = np.lexsort((rows, query))
        query, rows = query[order], rows[order]
        is_first = np.ones(len(rows), bool)
        is_first[1:] = (query[1:] != query[:-1]) | (rows[1:] != rows[:-1])
        query, rows = query[is_first], rows[is_first]
        if gallery is not None and rows.size and not 0 <= rows.min() <= rows.max() < gallery:
            raise InputError(
                f"relevant has gallery rows {rows.min()} to {rows.max()}, "
                f"but the gallery has rows 0 to {gallery - 1}"
            )
        return Relevant(query, rows, np.bincount(query, minlength=len(lists)))

    def part(self, start: int, stop: int) -> "Relevant":
        """The relevant rows of queries start to stop - 1, with the queries renumbered from 0."""
        low, high = np.searchsorted(self.query, (start, stop))
        return Relevant(self.query[low:high] - start, self.rows[low:high], self.count[start:stop])

    def take(self, queries: np.ndarray) -> "Relevant":
        """The relevant rows of some queries, with the queries renumbered from 0."""
        count = self.count[queries]
        return Relevant(
            np.repeat(np.arange(len(count)), count), self.rows[members(self.count, queries)], count
        )


def relevant_ranks(scores: np.ndarray, relevant: Relevant) -> np.ndarray:
    """Ranks of all relevant items, in the order of `relevant`.

    Args:
        scores: (m, n), higher is better; equal scores are ordered by the lower column.
        relevant: the relevant columns of each row of `scores`.
    """
    ranks = np.empty(relevant.query.size)
    # Each pass ranks one relevant item of every query. The query with the most relevant items
    # determines the number of passes.
    nth = ragged_ranges(0, relevant.count)
    for i in range(int(relevant.count.max(initial=0))):
        index = np.flatnonzero(nth == i)
        query, row = relevant.query[index], relevant.rows[index]
        query_scores = scores if index.size == scores.shape[0] else scores[query]
        own = scores[query, row][:, None]
        before = count_true(query_scores > own)
        not_after = count_true(query_scores >= own)
        for j in np.flatnonzero(not_after > before + 1):  # few scores are equal
            before[j] += (query_scores[j, : row[j]] == own[j]).sum()
        ranks[index] = 1 + before
    return ranks


def list_ranks(lists: np.ndarray, relevant: Relevant) -> np.ndarray:
    """Ranks of all relevant items in result lists, in the order of `relevant`.

    Args:
        lists: (m, k) gallery rows, best first; -1 is padding.
        relevant: the relevant gallery rows of each query.

    Returns:
        Ranks; infinity for an item that is not in the list.
    """
    hits = np.asarray(lists)[relevant.query] == relevant.rows[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)


def first_ranks(ranks: np.ndarray, relevant: Relevant) -> np.ndarray:
    """(m,) rank of the best relevant item of each query; infinity for a query that has none."""
    best = np.full(relevant.count.size, np.inf)
    np.minimum.at(best, relevant.query, ranks)
    return best


def recall_at(first: np.ndarray, k: int) -> np.ndarray:
    """(m,) 1 if a relevant item is among the top k, else 0. Its mean is R@k.

    Args:
        first: (m,) the result of `first_ranks`.
        k: length of the result lists.
    """
    return (first <= k).astype(float)


def reciprocal_rank(first: np.ndarray) -> np.ndarray:
    """(m,) 1 / rank of the best relevant item, 0 for infinity. Its mean is MRR."""
    return 1 / first


def median_rank(first: np.ndarray) -> float:
    """Median over queries of the rank of the best relevant item."""
    return float(np.median(first))


def average_precision(ranks: np.ndarray, relevant: Relevant) -> np.ndarray:
    """(m,) average precision; NaN for a query without relevant items. Its mean is mAP.

    Args:
        ranks: ranks of all relevant items, in the order of `relevant`.
        relevant: the relevant gallery rows of each query.
    """
    order = np.lexsort((ranks, relevant.query))
    nth = ragged_ranges(0, relevant.count) + 1
    total = np.bincount(relevant.query, nth / ranks[order], relevant.count.size)
    return np.divide(
        total, relevant.count, out=np.full(total.shape, np.nan), where=relevant.count > 0
    )


def ndcg(ranks: np.ndarray, relevant: Relevant, k: int | None = None) -> np.ndarray:
    """(m,) normalised discounted cumulative gain, with a gain of 1 for each relevant item
    (Jarvelin and Kekalainen 2002).

    Args:
        ranks: ranks of all relevant items, in the order of `relevant`.
        relevant: the relevant gallery rows of each query.
        k: only the top k count; all items if None.

    Returns:
        NDCG; NaN for a query without relevant items.
    """
    limit = np.inf if k is None else k
    gain = np.where(ranks <= limit, 1 / np.log2(1 + ranks), 0)
    total = np.bincount(relevant.query, gain, relevant.count.size)
    longest = int(relevant.count.max(initial=0))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2 + np.arange(longest)))])
    best = ideal[np.minimum(relevant.count, longest if k is None else k)]
    return np.divide(total, best, out=np.full(total.shape, np.nan), where=best > 0)
