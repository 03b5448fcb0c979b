"""k-occurrence: in how many of the bank queries' top tens an item of the gallery stands.

Counted by raw scores: it says how much of a hub an item is before any correction. Each query's
tenth best score over the gallery is fixed when the gallery is fitted, so the count of an item that
comes later depends on that item alone.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import ray

from pipelines.engine.ray_tasks import in_order
from pipelines.gallery.fit import TILE, Rows
from store.corrections.kernels.bank_scan import Needs, scan
from store.corrections.kernels.masks import NO_PAIRS, IdIndex, Pairs
from store.tables.banks import Bank

K = 10
MOST_QUERIES = 1_000
ROUNDING = 1e-6  # products of other shapes differ in their last digits


class CountedQueries(NamedTuple):
    """Queries of one modality: unit vectors (m, d), the clusters (m,) whose items they may not
    count (None where they may count all), and their K-th best scores (m,) over the gallery."""

    vectors: np.ndarray
    clusters: np.ndarray | None
    floor: np.ndarray | None = None


def counted_queries(bank: Bank, own_kind: bool) -> CountedQueries:
    """The queries of a bank that are counted; among their own kind they do not count themselves."""
    clusters = bank.clusters[:MOST_QUERIES] if own_kind else None
    return CountedQueries(bank.vectors[:MOST_QUERIES], clusters)


def with_floors(rows: Rows, asked: Mapping[str, CountedQueries]) -> dict[str, CountedQueries]:
    """The queries by modality with their K-th best scores over a gallery's rows (Ray)."""
    shared = ray.put(dict(asked))
    best = {name: np.full((len(a.vectors), K), -np.inf, np.float32) for name, a in asked.items()}
    for found in in_order(_best.remote(tile, shared) for tile in rows.tiles(TILE)):
        for name, scores in found.items():
            both = np.concatenate([best[name], scores], axis=1)
            best[name] = np.partition(both, both.shape[1] - K, axis=1)[:, -K:]
    return {name: a._replace(floor=best[name].min(axis=1)) for name, a in asked.items()}


@ray.remote
def _best(rows: Rows, asked: dict[str, CountedQueries]) -> dict[str, np.ndarray]:
    """The best scores (m, at most K) of each query in one tile."""
    vectors = rows.vectors()
    found = {}
    for name, a in asked.items():
        masked = _own(rows.clusters, a)
        seen = scan(a.vectors, vectors, Needs(k=K), masked=masked)
        found[name] = np.asarray(seen.top)
    return found


def count(vectors: np.ndarray, clusters: np.ndarray, asked: CountedQueries) -> np.ndarray:
    """(n,) int32: how many queries have each of these items (n, d) among their best K."""
    assert asked.floor is not None
    scores = asked.vectors @ vectors.T
    scores[_own(clusters, asked)] = -np.inf
    return (scores >= asked.floor[:, None] - ROUNDING).sum(axis=0, dtype=np.int32)


def _own(clusters: np.ndarray, asked: CountedQueries) -> Pairs:
    """(query, item) coordinates that are not counted."""
    return NO_PAIRS if asked.clusters is None else IdIndex(clusters).pairs(asked.clusters)
