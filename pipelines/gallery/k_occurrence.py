"""k-occurrence: how many of the bank's queries have an item among their K best results.

It is counted by raw scores, so it says how much of a hub an item is before any correction. The
K-th best score of each query over the gallery (its floor) is fixed when the gallery is fitted. So
the count of an item that is added later depends on that item alone. The items of the gallery that
floors are measured on are counted by that same scan.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pipelines.engine.ray_tasks import results_in_order
from pipelines.gallery.fit import VectorRows
from store.arrays import equal_range, ragged_ranges
from store.corrections.kernels.masks import NO_PAIRS, IdIndex, Pairs
from store.corrections.kernels.threads import spans
from store.corrections.kernels.topk import kth_lower_bound
from store.tables.banks import Bank

K = 10
MOST_QUERIES = 1_000
ROUNDING = 1e-6  # matrix products of other shapes differ in their last digits
_MOST_NEAREST = 64  # listed items of a query; more of them have the same score
_BLOCK = 2048  # vectors of one product: with 1,000 queries, 8 MB of scores


class CountedQueries(NamedTuple):
    """Bank queries of one modality whose result lists are counted.

    Attributes:
        vectors: (m, d) unit rows.
        clusters: (m,) clusters whose items a query does not count; None if it counts all items.
        floor: (m,) float32, the K-th best score over the gallery; None before it is known.
        nearest: (l,) uint64, sorted: the row id of the vector of an item, for each query that has
            the item among its K best. None: items are compared with the floors.
    """

    vectors: np.ndarray
    clusters: np.ndarray | None
    floor: np.ndarray | None = None
    nearest: np.ndarray | None = None


class _Near(NamedTuple):
    """Items near to m queries.

    Attributes:
        query: (l,) int64, ascending.
        item: (l,) uint64, the row id of its vector.
        score: (l,) float32, of each query in descending order.
        floor: (m,) float32, the K-th best score of each query, -inf if there are fewer.
    """

    query: np.ndarray
    item: np.ndarray
    score: np.ndarray
    floor: np.ndarray

    def join(self, query: np.ndarray, item: np.ndarray, score: np.ndarray) -> "_Near":
        """With more items: those that score about as well as the K-th best of all, or better."""
        query = np.concatenate([self.query, query])
        item, score = np.concatenate([self.item, item]), np.concatenate([self.score, score])
        order = np.lexsort((-score, query))
        query, item, score = query[order], item[order], score[order]
        nth = ragged_ranges(0, np.bincount(query, minlength=len(self.floor)))
        floor = np.full_like(self.floor, -np.inf)
        is_kth = nth == K - 1
        floor[query[is_kth]] = score[is_kth]
        kept = (score >= floor[query] - ROUNDING) & (nth < _MOST_NEAREST)
        return _Near(query[kept], item[kept], score[kept], floor)

    @property
    def is_whole(self) -> bool:
        """Whether no query has so many items near its floor that some are left out."""
        return bool(np.bincount(self.query).max(initial=0) < _MOST_NEAREST)


def _none_near(queries: int) -> _Near:
    none = np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.float32)
    return _Near(*none, np.full(queries, -np.inf, np.float32))


def counted_queries(bank: Bank, within_modality: bool) -> CountedQueries:
    """The queries of a bank that are counted.

    Args:
        within_modality: queries and items are of one modality. The items of a query's own cluster
            are then not counted, since the query itself is among them.
    """
    clusters = bank.clusters[:MOST_QUERIES] if within_modality else None
    return CountedQueries(bank.vectors[:MOST_QUERIES], clusters)


def with_floors(
    tiles: Iterable[VectorRows], queries: Mapping[str, CountedQueries], *, on_ray: bool
) -> dict[str, CountedQueries]:
    """Find the floors of queries over the rows of a gallery, and the items that reach them.

    Args:
        tiles: all rows, a tile at a time.
        queries: by modality.
        on_ray: by Ray tasks; else in this process.
    """
    near = {m: _none_near(len(q.vectors)) for m, q in queries.items()}
    for near_by_modality in results_in_order(_near, dict(queries), tiles, on_ray=on_ray):
        for m, in_tile in near_by_modality.items():
            near[m] = near[m].join(in_tile.query, in_tile.item, in_tile.score)
    return {
        m: q._replace(
            floor=near[m].floor, nearest=np.sort(near[m].item) if near[m].is_whole else None
        )
        for m, q in queries.items()
    }


def _near(queries: dict[str, CountedQueries], rows: VectorRows) -> dict[str, _Near]:
    """The items of one tile that are near to each query."""
    vectors = rows.vectors()
    near = {m: _none_near(len(q.vectors)) for m, q in queries.items()}
    for start, stop in spans(len(vectors), _BLOCK):
        for m, q in queries.items():
            scores = q.vectors @ vectors[start:stop].T
            scores[_not_counted(rows.clusters[start:stop], q)] = -np.inf
            least = near[m].floor
            if stop - start > K and (least == -np.inf).any():
                least = np.maximum(least, kth_lower_bound(scores, K))
            flat = np.flatnonzero(scores >= (least - ROUNDING)[:, None])
            query, item = np.divmod(flat, stop - start)
            near[m] = near[m].join(query, rows.ids[start:stop][item], scores.ravel()[flat])
    return near


def count_occurrence(
    vectors: np.ndarray, clusters: np.ndarray, vector_rows: np.ndarray, queries: CountedQueries
) -> np.ndarray:
    """Count the queries that have each item among their K best.

    Args:
        vectors: (n, d) unit rows of items.
        clusters: (n,) their clusters.
        vector_rows: (n,) uint64, the row ids of the vectors.
        queries: with their floors.

    Returns:
        (n,) int32.
    """
    if queries.nearest is not None:
        return equal_range(queries.nearest, vector_rows)[1].astype(np.int32)
    assert queries.floor is not None
    scores = queries.vectors @ vectors.T
    scores[_not_counted(clusters, queries)] = -np.inf
    return (scores >= queries.floor[:, None] - ROUNDING).sum(axis=0, dtype=np.int32)


def _not_counted(clusters: np.ndarray, queries: CountedQueries) -> Pairs:
    """(query, item) coordinates that are not counted."""
    return NO_PAIRS if queries.clusters is None else IdIndex(clusters).pairs(queries.clusters)
