"""Cross-fitting: measure many corrections on pairs that they were not fitted on.

Pairs are split into folds. Queries that share a sample or a duplicate cluster are in the same fold.
For each fold, the corrections are fitted on the banks without the samples of that fold. So no query
is judged by a bank that contains its own sample, even if banks and pairs overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import connected_components
from store.corrections.correction import Correction
from store.corrections.evaluate import evaluate
from store.corrections.fit import Spec, fit_many
from store.corrections.kernels.arrays import Array, to_numpy
from store.corrections.kernels.masks import as_ids
from store.metrics.retrieval import Relevant

K = 10  # length of the result lists that k-occurrence is counted in
MOST_QUERIES, MOST_ITEMS = 2_000, 10_000  # more take minutes and do not make a choice more certain


@dataclass(frozen=True)
class Trial:
    """Results of every candidate on every held-out query.

    Attributes:
        reciprocal_ranks: (candidates, m) reciprocal rank of the best relevant item.
        k_occurrence: (candidates, folds, n) k-occurrence over the queries of each fold.
        fold: (m,) fold of each query.
        groups: (m,) group of each query; a bootstrap draws a group as a unit.
    """

    reciprocal_ranks: np.ndarray
    k_occurrence: np.ndarray
    fold: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Samples:
    """Pairs and banks with their ids, as `select` takes them, as numpy arrays."""

    gallery: np.ndarray
    query_bank: np.ndarray
    gallery_bank: np.ndarray
    queries: np.ndarray
    relevant: Relevant
    gallery_ids: np.ndarray | None
    query_bank_ids: np.ndarray | None
    gallery_bank_ids: np.ndarray | None
    exclude: np.ndarray | None = None


def sample_pairs(
    rng: np.random.Generator,
    *,
    gallery: Array,
    query_bank: Array,
    gallery_bank: Array,
    queries: Array,
    relevant: Relevant,
    gallery_ids: Any,
    query_bank_ids: Any,
    gallery_bank_ids: Any,
    exclude: np.ndarray | None,
) -> Samples:
    """Draw at most `MOST_QUERIES` queries that have relevant items, and a gallery for them.

    The gallery holds all relevant items of these queries and random other items, up to
    `MOST_ITEMS` in all. Arguments are those of `select`.
    """
    query_index = np.flatnonzero(relevant.count > 0)
    if query_index.size > MOST_QUERIES:
        query_index = np.sort(rng.choice(query_index, MOST_QUERIES, replace=False))
    drawn = np.isin(relevant.query, query_index)
    answers = np.unique(relevant.rows[drawn])
    others = np.setdiff1d(np.arange(gallery.shape[0]), answers)
    free = max(MOST_ITEMS - answers.size, 0)
    if others.size > free:
        others = rng.choice(others, free, replace=False)
    items = np.sort(np.concatenate([answers, others]))
    excluded = None
    if exclude is not None:
        rows = exclude[query_index]
        excluded = np.searchsorted(items, rows)
        excluded[items[np.minimum(excluded, items.size - 1)] != rows] = -1
    ids = as_ids(gallery_ids, gallery.shape[0], "gallery_ids")
    bank_queries, bank_items = to_numpy(query_bank), to_numpy(gallery_bank)
    return Samples(
        gallery=to_numpy(gallery[items]),
        query_bank=bank_queries,
        gallery_bank=bank_items,
        queries=to_numpy(queries[query_index]),
        relevant=Relevant(
            np.searchsorted(query_index, relevant.query[drawn]),
            np.searchsorted(items, relevant.rows[drawn]),
            relevant.count[query_index],
        ),
        gallery_ids=None if ids is None else ids[items],
        query_bank_ids=as_ids(query_bank_ids, len(bank_queries), "query_bank_ids"),
        gallery_bank_ids=as_ids(gallery_bank_ids, len(bank_items), "gallery_bank_ids"),
        exclude=excluded,
    )


def cross_fit(
    specs: Sequence[Spec], samples: Samples, folds: int, rng: np.random.Generator
) -> Trial:
    """Fit every candidate once per fold, and measure it on the queries of that fold."""
    groups = group_queries(samples.relevant, samples.gallery_ids)
    fold = assign_folds(groups, folds, rng)
    reciprocal_ranks = np.empty((len(specs), fold.size))
    counts = np.zeros((len(specs), folds, len(samples.gallery)), dtype=np.int64)
    corrections: list[Correction] = []
    last_keep = None
    for f in range(folds):
        queries = np.flatnonzero(fold == f)
        keep = [
            ~_shares_sample(ids, samples, queries, len(bank))
            for ids, bank in (
                (samples.query_bank_ids, samples.query_bank),
                (samples.gallery_bank_ids, samples.gallery_bank),
            )
        ]
        keep = [rows if rows.any() else ~rows for rows in keep]
        # If banks and pairs do not overlap, all folds keep the same rows and need only one fit.
        if last_keep is None or not all(map(np.array_equal, keep, last_keep)):
            corrections, last_keep = _fit(specs, samples, keep), keep
        relevant = _of_queries(samples.relevant, queries)
        exclude = None if samples.exclude is None else samples.exclude[queries]
        for i, correction in enumerate(corrections):
            result = evaluate(correction, samples.queries[queries], relevant, k=K, exclude=exclude)
            reciprocal_ranks[i, queries] = result.reciprocal_ranks
            counts[i, f] = result.counts
    return Trial(reciprocal_ranks, counts, fold, groups)


def group_queries(relevant: Relevant, ids: np.ndarray | None) -> np.ndarray:
    """(m,) one number for all queries that share the id of a relevant item, also indirectly.

    Args:
        relevant: the relevant gallery rows of m queries.
        ids: (n,) ids of the gallery rows; without ids, each row is its own id.
    """
    if ids is None:
        codes = relevant.rows
    else:
        codes = np.unique(ids, return_inverse=True)[1][relevant.rows]
    queries = relevant.count.size
    nodes = queries + int(codes.max(initial=-1)) + 1
    return connected_components(relevant.query, queries + codes, nodes)[:queries]


def assign_folds(groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(m,) fold of each query. Groups are assigned to the folds in turn, in random order."""
    names, inverse = np.unique(groups, return_inverse=True)
    return (rng.permutation(names.size) % folds)[inverse]


def _shares_sample(ids: Any, samples: Samples, queries: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) bool, True for a bank row of the same sample as a relevant item of these queries."""
    if ids is None or samples.gallery_ids is None:
        return np.zeros(rows, dtype=bool)
    in_fold = np.isin(samples.relevant.query, queries)
    return np.isin(ids, samples.gallery_ids[samples.relevant.rows[in_fold]])


def _of_queries(relevant: Relevant, queries: np.ndarray) -> Relevant:
    """The relevant rows of some queries (ascending), with the queries renumbered from 0."""
    selected = np.isin(relevant.query, queries)
    renumbered = np.searchsorted(queries, relevant.query[selected])
    return Relevant(renumbered, relevant.rows[selected], relevant.count[queries])


def _fit(specs: Sequence[Spec], samples: Samples, keep: list[np.ndarray]) -> list[Correction]:
    """Fit on the bank rows in `keep`: one bool array each for query bank and gallery bank."""
    query_ids, gallery_ids = samples.query_bank_ids, samples.gallery_bank_ids
    return fit_many(
        specs,
        gallery=samples.gallery,
        query_bank=samples.query_bank[keep[0]],
        gallery_bank=samples.gallery_bank[keep[1]],
        gallery_ids=samples.gallery_ids,
        query_bank_ids=None if query_ids is None else query_ids[keep[0]],
        gallery_bank_ids=None if gallery_ids is None else gallery_ids[keep[1]],
    )
