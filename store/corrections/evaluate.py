"""Measure how well a correction ranks a gallery for a set of queries, tile by tile."""

from typing import Any

import numpy as np

from store.corrections.correction import Correction
from store.corrections.evaluation import INDUCTIVE, TRANSDUCTIVE, Evaluation
from store.corrections.kernels.arrays import as_matrix, to_numpy, unit_rows
from store.corrections.kernels.masks import IdIndex, as_ids
from store.corrections.kernels.topk import TopK
from store.errors import InputError
from store.metrics.hubness import k_occurrence
from store.metrics.retrieval import Relevant, first_ranks, relevant_ranks

# The vector of a part depends on the other parts of its batch by some 1e-7. Without rounding, this
# noise would rank captions that differ only in capitals. Rounded scores are tied, and ties are
# ordered by the row.
TIE_DECIMALS = 6
SCORES_AT_ONCE = 16_000_000  # 64 MB of float32
UNRELATED_ITEMS = 16  # random items per query that its relevant items are compared with


def evaluate(
    correction: Correction,
    queries: Any,
    relevant: Any,
    *,
    k: int = 10,
    exclude: np.ndarray | None = None,
    groups: Any = None,
    query_ids: Any = None,
    protocol: str | None = None,
) -> Evaluation:
    """Rank the whole gallery of a fitted correction for each query, and measure the rankings.

    Args:
        correction: the result of `fit`; fit "none" to measure raw scores.
        queries: (m, d), scaled to unit length where necessary.
        relevant: the relevant gallery rows of each query: an (m,) integer array, or a sequence of
            m lists of rows.
        k: length of the result lists that k-occurrence is counted in.
        exclude: (m,) integers: a gallery row that is removed from that query's ranking, or -1.
            Use it for a query that is itself an item of the gallery.
        groups: (m,) group of each query; intervals resample a group as a unit. Use it for queries
            that are not independent, such as the captions of one image.
        query_ids: (m,) ids of samples or duplicate clusters, of the same kind as those of the query
            bank. If the bank holds one of them, the evaluation is labelled transductive.
        protocol: "inductive" or "transductive". By default it follows from `query_ids`, and is
            inductive without them.

    Returns:
        Ranks, k-occurrence and scores, from which all figures and intervals are computed.

    Raises:
        InputError: numbers of arguments differ, a row is not in the gallery, a relevant row is
            excluded, or the protocol is "inductive" but queries are in the bank.
    """
    rows = to_numpy(unit_rows(as_matrix(queries, "queries"), "queries"))
    vectors, bias = to_numpy(correction.vectors), to_numpy(correction.bias)
    flag = None if correction.flag is None else to_numpy(correction.flag)
    items = len(vectors)
    right = Relevant.of(relevant, items)
    if len(right.count) != len(rows):
        raise InputError(
            f"relevant has {len(right.count)} entries for {len(rows)} queries: give the relevant"
            " gallery rows of each query"
        )
    if groups is not None and np.shape(groups) != (len(rows),):
        raise InputError(
            f"groups must hold one name for each of {len(rows)} queries, not {np.shape(groups)}"
        )
    label = _protocol(correction, query_ids, len(rows), protocol)
    excluded = None if exclude is None else check_exclude(exclude, right, items)
    random_items = np.random.default_rng(0).integers(0, max(items, 1), (len(rows), UNRELATED_ITEMS))
    k = min(k, items)
    counts = np.zeros(items, dtype=np.int64)
    ranks, matching, unrelated = [], [], []
    step = max(1, SCORES_AT_ONCE // max(items, 1))
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        scores = rows[start:stop] @ vectors.T
        if excluded is not None:
            with_exclusion = np.flatnonzero(excluded[start:stop] >= 0)
            scores[with_exclusion, excluded[start:stop][with_exclusion]] = -np.inf
        counts += correct_and_count(scores, bias, flag, k)
        block = right.part(start, stop)
        ranks.append(relevant_ranks(scores, block))
        matching.append(scores[block.query, block.rows])
        unrelated.append(_unrelated_scores(scores, block, random_items[start:stop]))
    all_ranks = np.concatenate([*ranks, np.empty(0)])
    return Evaluation(
        first_ranks(all_ranks, right),
        all_ranks,
        right,
        counts,
        k,
        np.concatenate([*matching, np.empty(0, np.float32)]),
        np.concatenate([*unrelated, np.empty(0, np.float32)]),
        None if groups is None else np.asarray(groups),
        label,
    )


def _unrelated_scores(scores: np.ndarray, right: Relevant, others: np.ndarray) -> np.ndarray:
    """The scores (m, n) of the items `others` (m, c), flat, without relevant and excluded items."""
    items = scores.shape[1]
    flat_index = np.arange(len(scores))[:, None] * items + others
    is_relevant = np.isin(flat_index, right.query * items + right.rows)
    unrelated = scores.ravel()[flat_index[~is_relevant]]
    return unrelated[np.isfinite(unrelated)]


def check_exclude(exclude: Any, relevant: Relevant, items: int) -> np.ndarray:
    """`exclude` (m,) as int64, after validation; see `evaluate`.

    Args:
        exclude: (m,) integers.
        relevant: the relevant gallery rows of the m queries.
        items: number of gallery rows.

    Raises:
        InputError: there is not one integer per query, a row is not in the gallery, or a relevant
            row is excluded.
    """
    rows = np.asarray(exclude)
    if rows.shape != relevant.count.shape or rows.dtype.kind not in "iu":
        raise InputError(
            f"exclude must hold one gallery row (or -1) for each of {relevant.count.size} queries,"
            f" not {rows.shape} of {rows.dtype}"
        )
    rows = rows.astype(np.int64)
    if rows.size and not -1 <= rows.min() <= rows.max() < items:
        raise InputError(
            f"exclude has gallery rows {rows.min()} to {rows.max()},"
            f" but the gallery has rows 0 to {items - 1}; use -1 to exclude nothing"
        )
    both = np.flatnonzero(rows[relevant.query] == relevant.rows)
    if both.size:
        raise InputError(
            f"query {relevant.query[both[0]]} both excludes gallery row {relevant.rows[both[0]]}"
            " and has it as a relevant row; remove it from one of them"
        )
    return rows


def correct_and_count(
    scores: np.ndarray, bias: np.ndarray, flag: np.ndarray | None, k: int
) -> np.ndarray:
    """Turn raw scores into corrected and rounded ones in place; count who is among the best.

    Args:
        scores: (m, n), changed in place; -inf for an excluded item.
        bias: (n,).
        flag: (n,) bool, or None; see `subtract_bias`.
        k: length of the result lists, at most n.

    Returns:
        (n,) the k-occurrence of each item.
    """
    subtract_bias(scores, bias, flag)
    np.round(scores, TIE_DECIMALS, out=scores)
    best = TopK(scores, k)
    best.add(scores.astype(np.float32, copy=False), 0)
    return k_occurrence(best.result()[1], scores.shape[1])


def subtract_bias(scores: np.ndarray, bias: np.ndarray, flag: np.ndarray | None) -> None:
    """Subtract the bias from scores in place.

    Args:
        scores: (m, n), changed in place.
        bias: (n,).
        flag: (n,) bool, True for hubs. If given, only the queries whose top item is a hub are
            corrected.
    """
    if flag is None:
        scores -= bias
    else:
        scores -= flag[scores.argmax(axis=1)][:, None] * bias


def _protocol(
    correction: Correction, query_ids: Any, queries: int, protocol: str | None = None
) -> str:
    """The protocol given, or by default "transductive" if the query bank holds a query's id."""
    if protocol not in (None, INDUCTIVE, TRANSDUCTIVE):
        raise InputError(f"protocol must be 'inductive' or 'transductive', not {protocol!r}")
    shared = 0
    if query_ids is not None:
        ids = as_ids(query_ids, queries, "query_ids")
        shared = len(set(IdIndex(correction.query_bank_ids).pairs(ids)[0].tolist()))
    if shared and protocol == INDUCTIVE:
        raise InputError(
            f"the evaluation is not inductive: {shared} of {queries} queries are in the query bank"
            " that the correction was fitted on; remove them from the bank, or pass"
            " protocol='transductive'"
        )
    return protocol or (TRANSDUCTIVE if shared else INDUCTIVE)
