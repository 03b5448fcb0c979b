"""The result of an evaluation: ranks, k-occurrence and scores, and the figures of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from store.errors import InputError
from store.html_table import html_table
from store.metrics.hubness import anti_hub_share, hub_share, robin_hood, skewness
from store.metrics.intervals import Interval, bootstrap_many
from store.metrics.retrieval import (
    Relevant,
    average_precision,
    median_rank,
    ndcg,
    recall_at,
    reciprocal_rank,
)

INDUCTIVE, TRANSDUCTIVE = "inductive", "transductive"


@dataclass(frozen=True)
class Evaluation:
    """The results of m queries on a gallery of n items; `figures` and `intervals` summarise them.

    Attributes:
        first: (m,) rank of the best relevant item, infinity for a query that has none.
        ranks: ranks of all relevant items, in the order of `relevant`.
        relevant: the relevant gallery rows of each query.
        counts: (n,) k-occurrence of each gallery row.
        k: length of the result lists that `counts` is computed from.
        matching: scores of all relevant items, in the order of `relevant`.
        unrelated: scores of queries with random items that are not relevant for them.
        groups: (m,) group of each query; the bootstrap draws a group as a unit.
        protocol: "inductive" or "transductive".
    """

    first: np.ndarray
    ranks: np.ndarray
    relevant: Relevant
    counts: np.ndarray
    k: int
    matching: np.ndarray
    unrelated: np.ndarray
    groups: np.ndarray | None = None
    protocol: str = INDUCTIVE

    @property
    def reciprocal_ranks(self) -> np.ndarray:
        """(m,) reciprocal rank of each query."""
        return reciprocal_rank(self.first)

    def measures(self) -> dict[str, np.ndarray]:
        """The measures that have a value per query, (m,) each: r@1, r@5, r@10, mrr, map, ndcg@10.

        The last two are NaN for a query without relevant items.
        """
        return {
            **{f"r@{k}": recall_at(self.first, k) for k in (1, 5, 10)},
            "mrr": self.reciprocal_ranks,
            "map": average_precision(self.ranks, self.relevant),
            "ndcg@10": ndcg(self.ranks, self.relevant, 10),
        }

    def figures(self) -> dict[str, float]:
        """All figures by name: the means of `measures`, and median_rank, k_skewness, robin_hood,
        hub_share and anti_hub_share."""
        return {
            **{name: _mean(values) for name, values in self.measures().items()},
            "median_rank": median_rank(self.first),
            "k_skewness": skewness(self.counts),
            "robin_hood": robin_hood(self.counts),
            "hub_share": hub_share(self.counts),
            "anti_hub_share": anti_hub_share(self.counts),
        }

    def intervals(self, **options: Any) -> dict[str, Interval]:
        """Bootstrap intervals of the means of `measures`, resampled by `groups`.

        Args:
            **options: level, resamples and seed of `store.metrics.bootstrap_many`.
        """
        return bootstrap_many(self.measures(), groups=self.groups, **options)

    def gains(self, other: "Evaluation", **options: Any) -> dict[str, Interval]:
        """Intervals of the gains over another evaluation of the same queries (paired differences).

        Raises:
            InputError: the other evaluation is of other queries.
        """
        changes = self._changes(other)
        return bootstrap_many(changes, groups=self.groups, **options)

    def compared(self, other: "Evaluation") -> dict[str, dict[str, Interval]]:
        """`intervals` of the other evaluation and of this one, and `gains` over the other, from one
        bootstrap.

        Returns:
            Intervals by measure, under `before`, `after` and `gains`.

        Raises:
            InputError: the other evaluation is of other queries.
        """
        kinds = {
            "before": other.measures(),
            "after": self.measures(),
            "gains": self._changes(other),
        }
        values = {f"{kind} {name}": v for kind, by in kinds.items() for name, v in by.items()}
        intervals = bootstrap_many(values, groups=self.groups)
        return {
            kind: {name: intervals[f"{kind} {name}"] for name in by} for kind, by in kinds.items()
        }

    def _changes(self, other: "Evaluation") -> dict[str, np.ndarray]:
        """The paired differences of the measures from those of another evaluation."""
        if not np.array_equal(self.relevant.count, other.relevant.count):
            raise InputError(
                "gains compare two evaluations of the same queries, but their numbers of relevant"
                " items differ"
            )
        baseline = other.measures()
        return {name: values - baseline[name] for name, values in self.measures().items()}

    def summary(self) -> dict[str, Any]:
        """The results as JSON values: protocol, queries, gallery, figures and intervals.

        Numbers that are not finite are null.
        """
        return {
            "protocol": self.protocol,
            "queries": len(self.first),
            "gallery": len(self.counts),
            "figures": _finite(self.figures()),
            "intervals": {name: _finite(i._asdict()) for name, i in self.intervals().items()},
        }

    def show(self) -> None:
        """Print the figures as a table, with their 95% intervals."""
        print(f"{self.protocol}: {len(self.first):,} queries, {len(self.counts):,} items")
        print(f"{'measure':<16}{'value':>8}  95% interval")
        intervals = self.intervals()
        for name, value in self.figures().items():
            interval = intervals.get(name)
            text = f"{interval.low:.3f} to {interval.high:.3f}" if interval else ""
            print(f"{name:<16}{value:>8.3f}  {text}".rstrip())

    def _repr_html_(self) -> str:
        """The figures in a notebook, with their 95% intervals."""
        title = f"{self.protocol}: {len(self.first):,} queries, {len(self.counts):,} items"
        intervals = self.intervals()
        rows = (
            (name, value, f"{i.low:.3f} to {i.high:.3f}" if (i := intervals.get(name)) else None)
            for name, value in self.figures().items()
        )
        return html_table(title, ("measure", "value", "95% interval"), rows)


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: v if np.isfinite(v) else None for name, v in values.items()}


def _mean(values: np.ndarray) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else float("nan")
