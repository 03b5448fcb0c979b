"""Statistics of columns, over all drops and by drop: counts, histograms, and extreme rows.

The table is read twice, in batches: first for ranges and extremes, then for the histograms.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.reports.curation.bins import bins
from pipelines.reports.curation.columns import Column, by_table, rows
from pipelines.reports.curation.thresholds import Limit
from store.workspace import Workspace

MOST = 40  # rows kept at an end: more than are shown, since rows that share a part are shown once
SampleRef = tuple[str, str]  # drop and id of a sample


class Ends:
    """The rows with the least values (`sign` 1) or the greatest (-1); of equal values the first."""

    def __init__(self, sign: int):
        self.sign = sign
        self.values = np.empty(0)
        self.samples: list[SampleRef] = []

    def add(self, values: np.ndarray, drop: str, ids: pa.Array) -> None:
        """Add rows: finite values (n,), and the ids (n,) of their samples."""
        signed = self.sign * values
        indices = np.arange(len(signed))
        if len(self.values) == MOST:
            indices = np.flatnonzero(signed < self.values[-1])
        if len(indices) > MOST:
            indices = indices[_least(signed[indices], MOST)]
        if len(indices):
            taken = ids.take(pa.array(indices)).to_pylist()
            self._join(signed[indices], [(drop, i) for i in taken])

    def join(self, other: "Ends") -> None:
        """Add the rows of other ends."""
        self._join(other.values, other.samples)

    def _join(self, values: np.ndarray, samples: Sequence[SampleRef]) -> None:
        all_values, all_samples = np.concatenate([self.values, values]), [*self.samples, *samples]
        order = np.argsort(all_values, kind="stable")[:MOST]
        self.values, self.samples = all_values[order], [all_samples[i] for i in order]

    def rows(self) -> list[tuple[SampleRef, float]]:
        """(sample, value), the most extreme first."""
        return list(zip(self.samples, (self.sign * self.values).tolist(), strict=True))


def _least(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the least values; of those equal to the last one, the first."""
    last = np.partition(values, count - 1)[count - 1]
    below = np.flatnonzero(values < last)
    return np.concatenate([below, np.flatnonzero(values == last)[: count - len(below)]])


@dataclass
class Numbers:
    """Statistics of a numeric column.

    Attributes:
        rows: all rows.
        valid: finite values.
        unreal: NaN and infinite values; the other rows are null.
        sum: of the finite values.
        low: the least value.
        high: the greatest value.
        positive: the least value above 0.
        beyond: how many values each limit cuts off.
        lowest: the samples with the least values.
        highest: the samples with the greatest values.
        edges: (n + 1,) edges of the bins.
        counts: (n,) values in each bin.
    """

    rows: int = 0
    valid: int = 0
    unreal: int = 0
    sum: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    positive: float = np.inf
    beyond: Counter[Limit] = field(default_factory=Counter)
    lowest: Ends = field(default_factory=lambda: Ends(1))
    highest: Ends = field(default_factory=lambda: Ends(-1))
    edges: np.ndarray = field(default_factory=lambda: np.empty(0))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, column: pa.Array, drop: str, ids: pa.Array, limits: Sequence[Limit]) -> None:
        """Add a batch in the first pass: values and ids (n,) of one drop."""
        self.rows += len(column)
        values, is_finite = finite(column)
        self.unreal += len(column) - column.null_count - len(values)
        if not len(values):
            return
        self.valid += len(values)
        self.sum += float(values.sum())
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.positive = min(self.positive, values.min(where=values > 0, initial=np.inf))
        for limit in limits:
            self.beyond[limit] += limit.beyond(values)
        valid_ids = ids if len(values) == len(ids) else ids.filter(pa.array(is_finite))
        self.lowest.add(values, drop, valid_ids)
        self.highest.add(values, drop, valid_ids)

    def count(self, column: pa.Array) -> None:
        """Add a batch to the histogram, in the second pass."""
        if len(self.edges):
            self.counts += np.histogram(finite(column)[0], self.edges)[0]

    def join(self, other: "Numbers") -> None:
        """Add the statistics of another drop, without its histogram."""
        for name in ("rows", "valid", "unreal", "sum"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.positive = min(self.positive, other.positive)
        self.beyond.update(other.beyond)
        self.lowest.join(other.lowest)
        self.highest.join(other.highest)


@dataclass
class Words:
    """Statistics of a text column: how often each value occurs, and its first samples."""

    rows: int = 0
    valid: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[SampleRef]] = field(default_factory=dict)

    def add(self, column: pa.Array, drop: str, ids: pa.Array, limits: Sequence[Limit]) -> None:
        """Add a batch: values and ids (n,) of one drop."""
        self.rows += len(column)
        self.valid += len(column) - column.null_count
        for entry in pc.value_counts(pc.drop_null(column)).to_pylist():
            value = entry["values"]
            self.counts[value] += entry["counts"]
            samples = self.first.setdefault(value, [])
            if (missing := MOST - len(samples)) > 0:
                with_value = ids.filter(pc.fill_null(pc.equal(column, value), False))
                samples += [(drop, i) for i in with_value.slice(0, missing).to_pylist()]

    def count(self, column: pa.Array) -> None:
        """Nothing: a text column has no histogram."""

    def join(self, other: "Words") -> None:
        """Add the statistics of another drop."""
        self.rows += other.rows
        self.valid += other.valid
        self.counts.update(other.counts)
        for value, samples in other.first.items():
            self.first[value] = [*self.first.get(value, []), *samples][:MOST]


Tally = Numbers | Words
ByColumn = dict[str, Tally]


def finite(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(the finite values as float64, (n,) bool which rows they are)."""
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    is_finite = np.isfinite(values)
    return values[is_finite], is_finite


def tally(
    workspace: Workspace,
    measured: Iterable[Column],
    limits: Mapping[str, Sequence[Limit]],
    drop: str | None = None,
    cuts: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> tuple[ByColumn, dict[str, ByColumn]]:
    """Statistics of columns over all drops, and by drop. All drops share the bins of a column.

    Args:
        workspace: the corpus.
        measured: the columns.
        limits: the policy's limits by column.
        drop: restricts them to this drop.
        cuts: values at which a bin begins, by column.
    """
    by_drop: dict[str, ByColumn] = {}
    total: ByColumn = {}
    for table, columns in by_table(measured).items():
        names = [c.name for c in columns]
        for name, batch in rows(workspace.tables, table, names, drop):
            of_drop = by_drop.setdefault(name, {})
            for column in columns:
                statistics = of_drop.setdefault(column.name, _new(column))
                statistics.add(batch[column.name], name, batch["id"], limits.get(column.name, ()))
        for column in columns:
            joined = total[column.name] = _new(column)
            for name in sorted(by_drop):
                if column.name in by_drop[name]:
                    joined.join(by_drop[name][column.name])  # type: ignore[arg-type]
            parts = (d[column.name] for d in by_drop.values() if column.name in d)
            _set_bins(joined, parts, column, cuts.get(column.name, ()))
        for name, batch in rows(workspace.tables, table, names, drop):
            for column_name in names:
                by_drop[name][column_name].count(batch[column_name])
        for column in columns:
            _sum_counts(total[column.name], (d.get(column.name) for d in by_drop.values()))
    return total, dict(sorted(by_drop.items()))


def _new(column: Column) -> Tally:
    return Words() if column.is_text else Numbers()


def _set_bins(total: Tally, parts: Iterable[Tally], column: Column, cuts: Sequence[float]) -> None:
    if isinstance(total, Numbers) and total.valid:
        mean = total.sum / total.valid
        edges = bins(total.low, total.high, total.positive, mean, column.is_whole)
        edges = np.union1d(edges, [cut for cut in cuts if edges[0] < cut < edges[-1]])
        for statistics in (total, *parts):
            if isinstance(statistics, Numbers):
                statistics.edges = edges
                statistics.counts = np.zeros(len(edges) - 1, np.int64)


def _sum_counts(total: Tally, parts: Iterable[Tally | None]) -> None:
    for part in parts:
        if isinstance(total, Numbers) and isinstance(part, Numbers) and len(part.counts):
            total.counts = total.counts + part.counts
