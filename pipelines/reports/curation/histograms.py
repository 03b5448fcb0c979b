"""Histograms as the page draws them: places and heights of bars, ticks and limits, no markup.

The axis is that of the bins: each is as wide as the others, whatever it holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.reports.curation.column_statistics import Numbers
from pipelines.reports.curation.thresholds import Limit
from pipelines.reports.plots import said

WIDTH, HEIGHT = 560.0, 120.0
_LEAST = 1.5  # a bar of one sample among millions can still be seen
_TICKS = 6
_LETTER = 6.4


@dataclass(frozen=True)
class Line:
    """A limit: where it stands, what is written at it, on which row, to which side."""

    x: float
    label: str
    row: int
    anchor: str


@dataclass(frozen=True)
class Histogram:
    """`bars` are (x, y, width, height, whether a limit cuts all of it off), `ticks` (x, label)."""

    bars: list[tuple[float, float, float, float, bool]]
    ticks: list[tuple[float, str]]
    lines: list[Line]
    most: int
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def above(self) -> int:
        """Rows of labels above the bars."""
        return max((line.row + 1 for line in self.lines), default=0)


def histogram(found: Numbers, limits: Sequence[Limit]) -> Histogram:
    """Of a column with values, its limits drawn in."""
    edges, most = found.edges, int(found.counts.max(initial=0))
    wide = WIDTH / len(found.counts)
    drawn = [limit for limit in limits if limit.at is not None]
    bars = []
    for place, count in enumerate(found.counts.tolist()):
        if count:
            tall = max(_LEAST, HEIGHT * count / most)
            low, high = edges[place : place + 2]
            cut = any(_beyond(limit, low, high) for limit in drawn)
            gap = min(1.0, wide / 4)
            bars.append((wide * place, HEIGHT - tall, wide - gap, tall, cut))
    return Histogram(bars, _ticks(edges), _lines(edges, drawn), most)


def at(value: float, edges: np.ndarray) -> float:
    """Where a value stands on the axis, 0 to WIDTH; at its ends where it is outside."""
    return float(np.interp(value, edges, np.linspace(0, WIDTH, len(edges))))


def _beyond(limit: Limit, low: float, high: float) -> bool:
    assert limit.at is not None
    return {"low": high <= limit.at, "high": low >= limit.at}.get(limit.cuts or "", False)


def _lines(edges: np.ndarray, limits: Sequence[Limit]) -> list[Line]:
    """Each label on the first row where it is not in the way of another."""
    lines: list[Line] = []
    ends: list[float] = []  # of each row, where the last label on it ends
    for limit in sorted(limits, key=lambda one: one.at or 0.0):
        assert limit.at is not None
        x, label = at(limit.at, edges), str(limit)
        if limit.at < edges[0]:
            label = f"← {label}"
        elif limit.at > edges[-1]:
            label = f"{label} →"
        long = _LETTER * len(label)
        to_left = x + long > WIDTH
        start = x - long if to_left else x
        row = next((r for r, end in enumerate(ends) if end < start), len(ends))
        ends[row:] = [start + long + _LETTER, *ends[row + 1 :]]
        lines.append(Line(x, label, row, "end" if to_left else "start"))
    return lines


def _ticks(edges: np.ndarray) -> list[tuple[float, str]]:
    """Round numbers along the axis, none so near to another that they touch."""
    low, high = float(edges[0]), float(edges[-1])
    widths = np.diff(edges)
    if widths.max() > 10 * widths.min():
        first = float(edges[edges > 0][0])
        powers = range(math.ceil(math.log10(first)), math.floor(math.log10(high)) + 1)
        values = [*([0.0] if low == 0 else []), *(10.0**p for p in powers)]
    else:
        step = _step((high - low) / _TICKS)
        values = (step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)).tolist()
    ticks: list[tuple[float, str]] = []
    end = -math.inf
    for value in values:
        x, label = at(value, edges), said(value)
        half = _LETTER * len(label) / 2
        if x - half > end:
            ticks.append((x, label))
            end = x + half + 2 * _LETTER
    return ticks


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10 ... that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))
