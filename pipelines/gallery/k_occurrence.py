"""k-occurrence: how many of the bank's queries have an item among their K best results.

It is counted by raw scores, so it says how much of a hub an item is before any correction. The
K-th best score of each query over the gallery (its floor) is fixed when the gallery is fitted. So
the count of an item that is added later depends on that item alone.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pipelines.engine.ray_tasks import results_in_order
from pipelines.gallery.fit import VectorRows
from store.corrections.kernels.bank_scan import Needs, scan
from store.corrections.kernels.masks import NO_PAIRS, IdIndex, Pairs
from store.tables.banks import Bank

K = 10
MOST_QUERIES = 1_000
ROUNDING = 1e-6  # matrix products of other shapes differ in their last digits


class CountedQueries(NamedTuple):
    """Bank queries of one modality whose result lists are counted.

    Attributes:
        vectors: (m, d) unit rows.
        clusters: (m,) clusters whose items a query does not count; None if it counts all items.
        floor: (m,) float32, the K-th best score over the gallery; None before it is known.
    """

    vectors: np.ndarray
    clusters: np.ndarray | None
    floor: np.ndarray | None = None


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
    """Find the floors of queries over the rows of a gallery.

    Args:
        tiles: all rows, a tile at a time.
        queries: by modality.
        on_ray: by Ray tasks; else in this process.
    """
    best = {m: np.full((len(q.vectors), K), -np.inf, np.float32) for m, q in queries.items()}
    for scores_by_modality in results_in_order(_best, dict(queries), tiles, on_ray=on_ray):
        for m, scores in scores_by_modality.items():
            joined = np.concatenate([best[m], scores], axis=1)
            best[m] = np.partition(joined, joined.shape[1] - K, axis=1)[:, -K:]
    return {m: q._replace(floor=best[m].min(axis=1)) for m, q in queries.items()}


def _best(queries: dict[str, CountedQueries], rows: VectorRows) -> dict[str, np.ndarray]:
    """The best scores (m, at most K) of each query in one tile."""
    vectors = rows.vectors()
    best = {}
    for m, q in queries.items():
        result = scan(q.vectors, vectors, Needs(k=K), masked=_not_counted(rows.clusters, q))
        best[m] = np.asarray(result.top)
    return best


def count_occurrence(
    vectors: np.ndarray, clusters: np.ndarray, queries: CountedQueries
) -> np.ndarray:
    """Count the queries that have each item among their K best.

    Args:
        vectors: (n, d) unit rows of items.
        clusters: (n,) their clusters.
        queries: with their floors.

    Returns:
        (n,) int32.
    """
    assert queries.floor is not None
    scores = queries.vectors @ vectors.T
    scores[_not_counted(clusters, queries)] = -np.inf
    return (scores >= queries.floor[:, None] - ROUNDING).sum(axis=0, dtype=np.int32)


def _not_counted(clusters: np.ndarray, queries: CountedQueries) -> Pairs:
    """(query, item) coordinates that are not counted."""
    return NO_PAIRS if queries.clusters is None else IdIndex(clusters).pairs(queries.clusters)
