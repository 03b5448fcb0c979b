"""Try many corrections on pairs that none of them was measured on.

Pairs are dealt into folds, one sample or cluster never into two; for each fold the banks lose
what belongs to it. So no query is judged by a bank that has seen it, whether or not the banks were
kept apart from the pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import connected_components
from store.corrections.evaluate import evaluate
from store.corrections.fit import fit_many
from store.metrics.retrieval import Relevant

K = 10  # length of the lists that hubs are counted in


@dataclass(frozen=True)
class Trial:
    """What every spec did on every held-out query."""

    reciprocal: np.ndarray  # (specs, m) reciprocal rank of the best right answer
    counts: np.ndarray  # (specs, folds, n) k-occurrence over the queries of each fold
    fold: np.ndarray  # (m,) the fold of each query
    groups: np.ndarray  # (m,) what each query is drawn together with


@dataclass(frozen=True)
class Samples:
    """Arrays of pairs and banks with their ids, as `select` takes them, on numpy."""

    gallery: np.ndarray
    query_bank: np.ndarray
    gallery_bank: np.ndarray
    queries: np.ndarray
    relevant: Relevant
    gallery_ids: np.ndarray | None
    query_bank_ids: np.ndarray | None
    gallery_bank_ids: np.ndarray | None
    exclude: np.ndarray | None = None


def group_queries(relevant: Relevant, ids: np.ndarray | None) -> np.ndarray:
    """(m,) one number for queries that share a right answer's id, however indirectly."""
    if ids is None:
        codes = relevant.rows
    else:
        codes = np.unique(ids, return_inverse=True)[1][relevant.rows]
    queries = relevant.count.size
    nodes = queries + int(codes.max(initial=-1)) + 1
    return connected_components(relevant.query, queries + codes, nodes)[:queries]


def deal(groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(m,) fold of each query: groups in random order, dealt in turn."""
    names, inverse = np.unique(groups, return_inverse=True)
    return (rng.permutation(names.size) % folds)[inverse]


def run(specs: Sequence[Any], samples: Samples, folds: int, rng: np.random.Generator) -> Trial:
    """Fit every spec for every fold, and judge it on that fold's queries."""
    groups = group_queries(samples.relevant, samples.gallery_ids)
    fold = deal(groups, folds, rng)
    reciprocal = np.empty((len(specs), fold.size))
    counts = np.zeros((len(specs), folds, len(samples.gallery)), dtype=np.int64)
    fitted, kept_before = None, None
    for f in range(folds):
        mine = np.flatnonzero(fold == f)
        keep = [
            ~_belongs(ids, samples, mine, len(bank))
            for ids, bank in (
                (samples.query_bank_ids, samples.query_bank),
                (samples.gallery_bank_ids, samples.gallery_bank),
            )
        ]
        keep = [k if k.any() else ~k for k in keep]
        kept = (keep[0].tobytes(), keep[1].tobytes())
        if fitted is None or kept != kept_before:  # banks apart from the pairs lose nothing
            fitted, kept_before = _fit(specs, samples, keep), kept
        right = _only(samples.relevant, mine)
        left_out = None if samples.exclude is None else samples.exclude[mine]
        for i, correction in enumerate(fitted):
            seen = evaluate(correction, samples.queries[mine], right, k=K, exclude=left_out)
            reciprocal[i, mine] = seen.reciprocal_ranks
            counts[i, f] = seen.counts
    return Trial(reciprocal, counts, fold, groups)


def _belongs(ids: Any, samples: Samples, mine: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) whether a bank row is of a sample that is right for one of these queries."""
    if ids is None or samples.gallery_ids is None:
        return np.zeros(rows, dtype=bool)
    of_fold = np.isin(samples.relevant.query, mine)
    return np.isin(ids, samples.gallery_ids[samples.relevant.rows[of_fold]])


def _only(relevant: Relevant, mine: np.ndarray) -> Relevant:
    """The right rows of some queries (ascending), renumbered from 0."""
    inside = np.isin(relevant.query, mine)
    renumbered = np.searchsorted(mine, relevant.query[inside])
    return Relevant(renumbered, relevant.rows[inside], relevant.count[mine])


def _fit(specs: Sequence[Any], samples: Samples, keep: list[np.ndarray]) -> list[Any]:
    def kept(ids: np.ndarray | None, side: int) -> np.ndarray | None:
        return None if ids is None else ids[keep[side]]

    return fit_many(
        specs,
        gallery=samples.gallery,
        query_bank=samples.query_bank[keep[0]],
        gallery_bank=samples.gallery_bank[keep[1]],
        gallery_ids=samples.gallery_ids,
        query_bank_ids=kept(samples.query_bank_ids, 0),
        gallery_bank_ids=kept(samples.gallery_bank_ids, 1),
    )
