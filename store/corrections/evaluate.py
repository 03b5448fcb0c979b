"""The figures of one ranking of a gallery by one set of queries, in memory of a few tiles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from store.corrections.correction import Correction
from store.corrections.kernels.arrays import as_matrix, to_numpy, unit
from store.corrections.kernels.masks import IdIndex, as_ids
from store.errors import InputError
from store.metrics.hubness import anti_hub_share, hub_share, k_occurrence, robin_hood, skewness
from store.metrics.intervals import Interval, bootstrap_many
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

INDUCTIVE, TRANSDUCTIVE = "inductive", "transductive"
# Who is beside a part in its batch moves its vector by some 1e-7: captions that differ in capitals
# alone would be told apart by that. So what is equal but for it is tied, and rows decide.
TIE_DECIMALS = 6
SCORES = 16_000_000  # scores held at a time: 64 MB of float32
UNRELATED = 16  # other items that a query's right answers are compared with


@dataclass(frozen=True)
class Evaluation:
    """What is known of m queries on n items; `figures` and `intervals` sum it up."""

    first: np.ndarray  # (m,) rank of the best right answer, infinity where there is none
    ranks: np.ndarray  # ranks of all right answers, in the order of `relevant`
    relevant: Relevant
    counts: np.ndarray  # (n,) k-occurrence
    k: int
    matching: np.ndarray  # scores of all right answers, in the order of `relevant`
    unrelated: np.ndarray  # scores of queries and random items that are not right for them
    groups: np.ndarray | None = None  # (m,) what is resampled together
    protocol: str = INDUCTIVE

    @property
    def reciprocal_ranks(self) -> np.ndarray:
        """(m,) reciprocal rank of each query."""
        return reciprocal_rank(self.first)

    def measures(self) -> dict[str, np.ndarray]:
        """The measures that are means over queries, (m,) each: r@1, r@5, r@10, mrr, map, ndcg@10;
        NaN in the last two for a query without right answers."""
        return {
            **{f"r@{k}": recall_at(self.first, k) for k in (1, 5, 10)},
            "mrr": self.reciprocal_ranks,
            "map": average_precision(self.ranks, self.relevant),
            "ndcg@10": ndcg(self.ranks, self.relevant, 10),
        }

    def figures(self) -> dict[str, float]:
        """The measures by name: r@1, r@5, r@10, mrr, map, ndcg@10, median_rank, k_skewness,
        robin_hood, hub_share, anti_hub_share."""
        return {
            **{name: _mean(values) for name, values in self.measures().items()},
            "median_rank": median_rank(self.first),
            "k_skewness": skewness(self.counts),
            "robin_hood": robin_hood(self.counts),
            "hub_share": hub_share(self.counts),
            "anti_hub_share": anti_hub_share(self.counts),
        }

    def intervals(self, **options: Any) -> dict[str, Interval]:
        """Mean, low and high of each of `measures`, drawn by `groups`; options (level, resamples,
        seed) as `store.metrics.bootstrap_many`."""
        return bootstrap_many(self.measures(), groups=self.groups, **options)

    def gains(self, other: "Evaluation", **options: Any) -> dict[str, Interval]:
        """Intervals of the paired differences to another ranking for the same queries."""
        if not np.array_equal(self.relevant.count, other.relevant.count):
            raise InputError("gains are of two evaluations of the same queries")
        before = other.measures()
        changes = {name: values - before[name] for name, values in self.measures().items()}
        return bootstrap_many(changes, groups=self.groups, **options)

    def summary(self) -> dict[str, Any]:
        """Everything as JSON values, null for what is not finite: `protocol`, `queries`,
        `gallery`, `figures`, `intervals`."""
        return {
            "protocol": self.protocol,
            "queries": len(self.first),
            "gallery": len(self.counts),
            "figures": _finite(self.figures()),
            "intervals": {name: _finite(i._asdict()) for name, i in self.intervals().items()},
        }

    def show(self) -> None:
        """Print the figures as a table, with their 95% intervals."""
        from rich.console import Console
        from rich.table import Table

        title = f"{self.protocol}: {len(self.first):,} queries, {len(self.counts):,} items"
        table = Table("measure", title=title, title_justify="left")
        table.add_column("value", justify="right")
        table.add_column("95% interval", justify="right")
        intervals = self.intervals()
        for name, value in self.figures().items():
            ends = intervals.get(name)
            said = f"{ends.low:.3f} to {ends.high:.3f}" if ends else ""
            table.add_row(name, f"{value:.3f}", said)
        Console().print(table)


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
    """Rank the whole gallery of a fitted correction for queries and measure it.

    Args:
        correction: what `fit` gives; fit "none" for raw scores.
        queries: (m, d), scaled to unit length where they are not.
        relevant: the right gallery rows: an (m,) integer array, or a sequence of m lists of rows.
        k: the length of the result lists that hubs are counted in.
        exclude: (m,) integers, a gallery row that is left out of that query's ranking and lists,
            or -1: the query itself, where it is searched for among its own kind.
        groups: (m,) what is resampled together in intervals, such as the captions of one image.
        query_ids: (m,) ids of samples or duplicate clusters, as the query bank's: where the bank
            holds one of them, the evaluation is labelled transductive.
        protocol: "inductive" or "transductive"; inductive by default, unless `query_ids` tell.

    Raises:
        InputError: arguments differ in number, a row is not in the gallery, a right row is
            excluded, or queries called inductive are in the bank.
    """
    rows = to_numpy(unit(as_matrix(queries, "queries"), "queries"))
    vectors, bias = to_numpy(correction.vectors), to_numpy(correction.bias)
    flag = None if correction.flag is None else to_numpy(correction.flag)
    items = len(vectors)
    right = Relevant.of(relevant, items)
    if len(right.count) != len(rows):
        raise InputError(f"relevant has {len(right.count)} entries for {len(rows)} queries")
    if groups is not None and np.shape(groups) != (len(rows),):
        raise InputError(f"groups must hold one name for each of {len(rows)} queries")
    label = protocol_of(correction, query_ids, len(rows), protocol)
    left_out = None if exclude is None else check_exclude(exclude, right, items)
    others = np.random.default_rng(0).integers(0, max(items, 1), (len(rows), UNRELATED))
    k = min(k, items)
    counts = np.zeros(items, dtype=np.int64)
    ranks, matching, unrelated = [], [], []
    step = max(1, SCORES // max(items, 1))
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        scores = rows[start:stop] @ vectors.T
        if left_out is not None:
            without = np.flatnonzero(left_out[start:stop] >= 0)
            scores[without, left_out[start:stop][without]] = -np.inf
        corrected(scores, bias, flag)
        np.round(scores, TIE_DECIMALS, out=scores)
        top = np.argpartition(scores, items - k, axis=1)[:, items - k :]
        if left_out is not None:
            top = np.where(top == left_out[start:stop, None], -1, top)
        counts += k_occurrence(top, items)
        mine = right.part(start, stop)
        ranks.append(right_ranks(scores, mine))
        matching.append(scores[mine.query, mine.rows])
        unrelated.append(_unrelated(scores, mine, others[start:stop]))
    flat = np.concatenate([*ranks, np.empty(0)])
    return Evaluation(
        first_ranks(flat, right),
        flat,
        right,
        counts,
        k,
        np.concatenate([*matching, np.empty(0, np.float32)]),
        np.concatenate([*unrelated, np.empty(0, np.float32)]),
        None if groups is None else np.asarray(groups),
        label,
    )


def _unrelated(scores: np.ndarray, right: Relevant, others: np.ndarray) -> np.ndarray:
    """Scores (m, n) at `others` (m, c), flat, without right answers and what is left out."""
    items = scores.shape[1]
    place = np.arange(len(scores))[:, None] * items + others
    found = scores.ravel()[place[~np.isin(place, right.query * items + right.rows)]]
    return found[np.isfinite(found)]


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: v if np.isfinite(v) else None for name, v in values.items()}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def check_exclude(exclude: Any, relevant: Relevant, items: int) -> np.ndarray:
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


def protocol_of(
    correction: Correction, query_ids: Any, queries: int, said: str | None = None
) -> str:
    """ "transductive" where the query bank holds one of the queries' ids, or where it is `said` so.

    Raises InputError where "inductive" is said of queries that the bank holds.
    """
    if said not in (None, INDUCTIVE, TRANSDUCTIVE):
        raise InputError(f"protocol must be 'inductive' or 'transductive', not {said!r}")
    shared = 0
    if query_ids is not None:
        ids = as_ids(query_ids, queries, "query_ids")
        shared = len(set(IdIndex(correction.query_bank_ids).pairs(ids)[0].tolist()))
    if shared and said == INDUCTIVE:
        raise InputError(
            f"this is no inductive evaluation: {shared} of {queries} queries are in the query bank"
            " that the correction was fitted on; take them out of the bank, or say"
            " protocol='transductive'"
        )
    return said or (TRANSDUCTIVE if shared else INDUCTIVE)
