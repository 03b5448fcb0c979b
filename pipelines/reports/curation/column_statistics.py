"""What the values of a column are: counts, histograms, and the rows at both ends, in two passes.

The first pass finds ranges and ends, the second fills the histograms; both hold a batch at a time.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.reports.curation.columns import Column, by_table, rows
from pipelines.reports.curation.thresholds import Limit
from store.workspace import Workspace

MOST = 40  # rows held at an end: of these, those that share a part are shown once
SampleRef = tuple[str, str]  # a sample: its drop and its id


class Ends:
    """The rows with the least values (`sign` 1) or the greatest (-1), of equal ones the first."""

    def __init__(self, sign: int):
        self.sign = sign
        self.values = np.empty(0)
        self.places: list[SampleRef] = []

    def add(self, values: np.ndarray, drop: str, ids: pa.Array) -> None:
        """Args: values (n,) finite; ids (n,) of the same rows."""
        signed = self.sign * values
        near = np.arange(len(signed))
        if len(self.values) == MOST:
            near = np.flatnonzero(signed < self.values[-1])
        if len(near) > MOST:
            near = near[_least(signed[near], MOST)]
        if len(near):
            taken = ids.take(pa.array(near)).to_pylist()
            self._join(signed[near], [(drop, i) for i in taken])

    def join(self, other: "Ends") -> None:
        self._join(other.values, other.places)

    def _join(self, values: np.ndarray, places: Sequence[SampleRef]) -> None:
        joined, all_places = np.concatenate([self.values, values]), [*self.places, *places]
        order = np.argsort(joined, kind="stable")[:MOST]
        self.values, self.places = joined[order], [all_places[i] for i in order]

    def rows(self) -> list[tuple[SampleRef, float]]:
        """(place, value), the extreme one first."""
        return list(zip(self.places, (self.sign * self.values).tolist(), strict=True))


def _least(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the least values; of those equal to the last one, the first."""
    last = np.partition(values, count - 1)[count - 1]
    below = np.flatnonzero(values < last)
    return np.concatenate([below, np.flatnonzero(values == last)[: count - len(below)]])


@dataclass
class Numbers:
    """A column of numbers. `unreal` are NaN or infinite, `valid` are finite, the rest is null;
    `positive` is the least value above 0; `beyond` counts what lies outside of a limit."""

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
        self.rows += len(column)
        values, there = finite(column)
        self.unreal += len(column) - column.null_count - len(values)
        if not len(values):
            return
        self.valid += len(values)
        self.sum += float(values.sum())
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.positive = min(self.positive, values.min(where=values > 0, initial=np.inf))
        for limit in limits:
            self.beyond[limit] += limit.beyond(values)
        some = ids if len(values) == len(ids) else ids.filter(pa.array(there))
        self.lowest.add(values, drop, some)
        self.highest.add(values, drop, some)

    def count(self, column: pa.Array) -> None:
        if len(self.edges):
            self.counts += np.histogram(finite(column)[0], self.edges)[0]

    def join(self, other: "Numbers") -> None:
        for name in ("rows", "valid", "unreal", "sum"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.positive = min(self.positive, other.positive)
        self.beyond.update(other.beyond)
        self.lowest.join(other.lowest)
        self.highest.join(other.highest)


@dataclass
class Words:
    """A column of names: how often each, and the first samples of each."""

    rows: int = 0
    valid: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[SampleRef]] = field(default_factory=dict)

    def add(self, column: pa.Array, drop: str, ids: pa.Array, limits: Sequence[Limit]) -> None:
        self.rows += len(column)
        self.valid += len(column) - column.null_count
        for found in pc.value_counts(pc.drop_null(column)).to_pylist():
            value = found["values"]
            self.counts[value] += found["counts"]
            known = self.first.setdefault(value, [])
            if (missing := MOST - len(known)) > 0:
                here = ids.filter(pc.fill_null(pc.equal(column, value), False))
                known += [(drop, i) for i in here.slice(0, missing).to_pylist()]

    def count(self, column: pa.Array) -> None:
        pass

    def join(self, other: "Words") -> None:
        self.rows += other.rows
        self.valid += other.valid
        self.counts.update(other.counts)
        for value, places in other.first.items():
            self.first[value] = [*self.first.get(value, []), *places][:MOST]


Tally = Numbers | Words
ByColumn = dict[str, Tally]


def finite(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(the finite values as float64, (n,) where they are)."""
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    there = np.isfinite(values)
    return values[there], there


def tally(
    workspace: Workspace,
    measured: Iterable[Column],
    limits: Mapping[str, Sequence[Limit]],
    drop: str | None = None,
) -> tuple[ByColumn, dict[str, ByColumn]]:
    """The columns over all drops, and by drop. Histograms of a column share their bins.

    Args:
        limits: what the policy says of a column, by its name.
        drop: look at this one alone.
    """
    by_drop: dict[str, ByColumn] = {}
    whole: ByColumn = {}
    for table, some in by_table(measured).items():
        names = [c.name for c in some]
        for one, batch in rows(workspace.tables, table, names, drop):
            mine = by_drop.setdefault(one, {})
            for column in some:
                found = mine.setdefault(column.name, _new(column))
                found.add(batch[column.name], one, batch["id"], limits.get(column.name, ()))
        for column in some:
            total = whole[column.name] = _new(column)
            for one in sorted(by_drop):
                if column.name in by_drop[one]:
                    total.join(by_drop[one][column.name])  # type: ignore[arg-type]
            _cut(total, (d[column.name] for d in by_drop.values() if column.name in d), column)
        for one, batch in rows(workspace.tables, table, names, drop):
            for name in names:
                by_drop[one][name].count(batch[name])
        for column in some:
            _sum_up(whole[column.name], (d.get(column.name) for d in by_drop.values()))
    return whole, dict(sorted(by_drop.items()))


def _new(column: Column) -> Tally:
    return Words() if column.is_text else Numbers()


def _cut(total: Tally, parts: Iterable[Tally], column: Column) -> None:
    if isinstance(total, Numbers) and total.valid:
        mean = total.sum / total.valid
        edges = bins(total.low, total.high, total.positive, mean, column.is_whole)
        for one in (total, *parts):
            if isinstance(one, Numbers):
                one.edges, one.counts = edges, np.zeros(len(edges) - 1, np.int64)


def _sum_up(total: Tally, parts: Iterable[Tally | None]) -> None:
    for one in parts:
        if isinstance(total, Numbers) and isinstance(one, Numbers) and len(one.counts):
            total.counts = total.counts + one.counts


BINS = 48
_HEAVY = 20  # times the mean: an exponential distribution of 10^8 values ends here
_DECADES = 6


def bins(low: float, high: float, positive: float, mean: float, whole: bool) -> np.ndarray:
    """Edges (n + 1,), increasing, as `numpy.histogram` takes them; all values lie within.

    Whole numbers get a bin each, or as many to each bin. Values from 0 on whose greatest is 20
    times their mean get bins of one ratio, and those below the least of these one bin together.

    Args:
        low, high: the least and the greatest value.
        positive: the least value above 0, or infinity.
        mean: of all values.
        whole: whether they are whole numbers.
    """
    # Shares are read on a line, and so are counts of which each has its bin.
    if low >= 0 and high > _HEAVY * mean and high > (BINS if whole else 1):
        return _of_one_ratio(low, high, positive)
    if whole:
        width = math.ceil((high - low + 1) / BINS)
        return low - 0.5 + width * np.arange(math.ceil((high - low + 1) / width) + 1)
    if not high > low:
        around = max(abs(low) * 1e-3, 1e-3)
        return np.array([low - around, low + around])
    edges = np.linspace(low, high, BINS + 1)
    # So near to each other that there are not as many numbers in between.
    return edges if (np.diff(edges) > 0).all() else np.array([low, high])


def _of_one_ratio(low: float, high: float, positive: float) -> np.ndarray:
    least = max(positive, high * 10.0**-_DECADES)
    edges = np.geomspace(least, high, BINS + 1)
    edges[0], edges[-1] = least, high
    return edges if low >= least else np.concatenate([[low], edges])
