"""The figures of one ranking of a gallery by one set of queries, in memory of a few tiles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from store.corrections.arrays import as_matrix, to_numpy, unit
from store.corrections.correction import Correction
from store.errors import InputError
from store.metrics.hubness import anti_hub_share, hub_share, k_occurrence, robin_hood, skewness
from store.metrics.retrieval import (
    Relevant,
    average_precision,
    first_ranks,
    median_rank,
    ndcg,
    recall_at,
    reciprocal_rank,
    right_ranks,
)

SCORES = 16_000_000  # scores held at a time: 64 MB of float32


@dataclass(frozen=True)
class Evaluation:
    """What is known of m queries on n items; `figures` sums it up."""

    first: np.ndarray  # (m,) rank of the best right answer, infinity where there is none
    ranks: np.ndarray  # ranks of all right answers, in the order of `relevant`
    relevant: Relevant
    counts: np.ndarray  # (n,) k-occurrence
    k: int

    @property
    def reciprocal_ranks(self) -> np.ndarray:
        """(m,) reciprocal rank of each query."""
        return reciprocal_rank(self.first)

    def figures(self) -> dict[str, float]:
        """The measures by name: r@1, r@5, r@10, mrr, map, ndcg@10, median_rank, k_skewness,
        robin_hood, hub_share, anti_hub_share."""
        return {
            **{f"r@{k}": float(recall_at(self.first, k).mean()) for k in (1, 5, 10)},
            "mrr": float(self.reciprocal_ranks.mean()),
            "map": float(np.nanmean(average_precision(self.ranks, self.relevant))),
            "ndcg@10": float(np.nanmean(ndcg(self.ranks, self.relevant, 10))),
            "median_rank": median_rank(self.first),
            "k_skewness": skewness(self.counts),
            "robin_hood": robin_hood(self.counts),
            "hub_share": hub_share(self.counts),
            "anti_hub_share": anti_hub_share(self.counts),
        }


def evaluate(
    correction: Correction,
    queries: Any,
    relevant: Any,
    *,
    k: int = 10,
    exclude: np.ndarray | None = None,
) -> Evaluation:
    """Rank the whole gallery of a fitted correction for queries (m, d) and measure it.

    `relevant` is an (m,) integer array of right rows or a sequence of m lists of them; `k` is the
    length of the lists that hubs are counted in. `exclude` (m,) integers is a gallery row that is
    left out of that query's ranking and lists, or -1: the query itself, where it is searched for
    among its own kind. Raises InputError where queries, `relevant` and `exclude` differ in number,
    a row is not in the gallery, or a right row is excluded.
    """
    rows = unit(as_matrix(queries, "queries"), "queries")
    rows = to_numpy(rows)
    vectors, bias = to_numpy(correction.vectors), to_numpy(correction.bias)
    flag = None if correction.flag is None else to_numpy(correction.flag)
    right = Relevant.of(relevant, len(vectors))
    if len(right.count) != len(rows):
        raise InputError(f"relevant has {len(right.count)} entries for {len(rows)} queries")
    left_out = None if exclude is None else as_excluded(exclude, right, len(vectors))
    k = min(k, len(vectors))
    counts = np.zeros(len(vectors), dtype=np.int64)
    ranks = []
    step = max(1, SCORES // max(len(vectors), 1))
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        scores = rows[start:stop] @ vectors.T
        if left_out is not None:
            without = np.flatnonzero(left_out[start:stop] >= 0)
            scores[without, left_out[start:stop][without]] = -np.inf
        corrected(scores, bias, flag)
        top = np.argpartition(scores, len(vectors) - k, axis=1)[:, len(vectors) - k :]
        if left_out is not None:
            top = np.where(top == left_out[start:stop, None], -1, top)
        counts += k_occurrence(top, len(vectors))
        ranks.append(right_ranks(scores, right.part(start, stop)))
    flat = np.concatenate([*ranks, np.empty(0)])
    return Evaluation(first_ranks(flat, right), flat, right, counts, k)


def as_excluded(exclude: Any, relevant: Relevant, items: int) -> np.ndarray:
    """`exclude` (m,) as int64, checked against the queries' right rows and the gallery's size."""
    rows = np.asarray(exclude)
    if rows.shape != relevant.count.shape or rows.dtype.kind not in "iu":
        raise InputError(
            f"exclude must hold one gallery row (or -1) for each of {relevant.count.size} queries,"
            f" not {rows.shape} of {rows.dtype}"
        )
    rows = rows.astype(np.int64)
    if rows.size and not -1 <= rows.min() <= rows.max() < items:
        raise InputError(
            f"exclude names gallery rows {rows.min()} to {rows.max()},"
            f" but the gallery has rows 0 to {items - 1}; -1 leaves nothing out"
        )
    both = np.flatnonzero(rows[relevant.query] == relevant.rows)
    if both.size:
        raise InputError(
            f"query {relevant.query[both[0]]} both excludes gallery row {relevant.rows[both[0]]}"
            " and has it as a right answer; take it out of one of them"
        )
    return rows


def corrected(scores: np.ndarray, bias: np.ndarray, flag: np.ndarray | None) -> None:
    """Take the bias off scores (m, n) in place: of all queries, or of those behind a hub."""
    if flag is None:
        scores -= bias
    else:
        scores -= flag[scores.argmax(axis=1)][:, None] * bias
