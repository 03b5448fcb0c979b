"""Histograms with the policy's limits: SVG for the curation page, PNG for Dagster.

Both draw the same bars, limits, labels and ticks. All bins are equally wide, whatever range of
values they hold, since the bins of a heavy tail are of one ratio.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.reports.canvas import (
    FAILED,
    KEPT,
    REJECTED,
    Ink,
    bare_canvas,
    canvas,
    png,
    short_number,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The bars of a histogram on a page, in the units of its SVG.
WIDTH, HEIGHT = 560, 120
_SIDE, _BELOW, _ROW = 18, 20, 15  # margins, and the height of a row of labels
_LETTERS = 87  # of a label that fit into the width
_ACROSS = 3  # histograms in a row of a sheet
_SHEET_LETTERS = 38  # that fit into the width of one of them
_LEAST = 0.02  # of the height: a bar of one sample among millions can still be seen
_TICKS = 6


class Mark(NamedTuple):
    """A limit of the policy in a histogram.

    Attributes:
        label: such as "min 32".
        at: its value.
        cuts: the end of the values that it cuts off: "low", "high" or None.
    """

    label: str
    at: float
    cuts: str | None = None


class Panel(NamedTuple):
    """A histogram: counts (n,) between edges (n + 1,), increasing, and limits of the policy."""

    name: str
    counts: np.ndarray
    edges: np.ndarray
    marks: Sequence[Mark] = ()


def page_histograms(panels: Sequence[Panel]) -> list[str]:
    """Histograms as SVG elements for a page, in the colours of its style sheet.

    Each is a group with the id `histogram-NAME`, which a page can show again in small. Its bars
    fill the rectangle from (0, 0) to (WIDTH, HEIGHT).
    """

    room = _above(max((_rows_of_labels(panel, _LETTERS) for panel in panels), default=0))
    figure, axes = bare_canvas(WIDTH, HEIGHT, room)
    drawn = []
    for panel in panels:
        _draw_histogram(axes, panel, Ink.of(dark=False), _LETTERS, _ROW / HEIGHT)
        for place, label in _ticks(panel.edges, _LETTERS):
            transform = axes.get_xaxis_transform()
            axes.text(place, -0.04, label, ha="center", va="top", transform=transform)
        name, above = escape(panel.name), _above(_rows_of_labels(panel, _LETTERS))
        box = (-_SIDE, -above, WIDTH + 2 * _SIDE, HEIGHT + above + _BELOW)
        drawn.append(
            f'<svg class="histogram" viewBox="{" ".join(map(str, box))}" role="img"'
            f' aria-label="histogram of {name}">'
            f'<g class="bars" id="histogram-{name}" transform="translate(0 {-room})">'
            f"{svg(figure)}</g></svg>"
        )
        # Making axes takes longer than drawing in them, and a page has some fifty histograms.
        for artist in (*axes.patches, *axes.lines, *axes.texts):
            artist.remove()
    return drawn


def _above(rows_of_labels: int) -> int:
    return 6 + _ROW * rows_of_labels


def histograms(panels: Sequence[Panel], dark: bool = False) -> bytes:
    """Histograms side by side, as one PNG."""
    ink = Ink.of(dark)
    rows = max(1, -(-len(panels) // _ACROSS))
    figure, drawn = canvas(1.75 * rows, ink, rows, min(len(panels), _ACROSS) or 1)
    for axes, panel in zip(drawn, panels, strict=False):
        _draw_histogram(axes, panel, ink, _SHEET_LETTERS, 0.13)
        above = 5 + 11 * _rows_of_labels(panel, _SHEET_LETTERS)
        axes.set_title(
            panel.name, fontsize=8, color=ink.text, loc="left", pad=above, parse_math=False
        )
        places, labels = zip(*_ticks(panel.edges, _SHEET_LETTERS), strict=True)
        axes.set_xticks(places, labels, fontsize=7)
        axes.set_yticks([0, int(max(1, panel.counts.max(initial=0)))])
        axes.tick_params(axis="y", labelsize=7)
    for axes in drawn[len(panels) :]:
        axes.set_visible(False)
    return png(figure)


def _draw_histogram(
    axes: "Axes", panel: Panel, ink: Ink, letters: float, row_height: float
) -> None:
    """Draw bars and limits. All bins are equally wide, whatever range of values they hold.

    Args:
        letters: how many letters of a label fit into the width of the axes.
        row_height: height of a row of labels, as a share of the height of the axes.
    """
    counts, edges = panel.counts, panel.edges
    most = max(1, counts.max(initial=0))
    heights = np.where(counts > 0, np.maximum(counts, _LEAST * most), 0)
    is_cut = np.zeros(len(counts), bool)
    for mark in panel.marks:
        is_cut |= {"low": edges[1:] <= mark.at, "high": edges[:-1] >= mark.at}.get(
            mark.cuts or "", False
        )
    bins = np.arange(len(edges))
    for shown, colour in ((~is_cut, KEPT), (is_cut, REJECTED)):
        if shown.any():
            axes.stairs(np.where(shown, heights, 0), bins, fill=True, color=colour, clip_on=False)
    axes.set_xlim(0, bins[-1])
    axes.set_ylim(0, most)
    line = axes.get_xaxis_transform()  # x in bins, y as a share of the height
    axes.plot(bins[[0, -1]], [0, 0], color=ink.text, lw=1, clip_on=False)
    rows = _label_rows(panel, letters)
    for mark, row in zip(panel.marks, rows, strict=True):
        place = np.interp(mark.at, edges, bins)
        top = 1 + row_height * (max(rows) + 1 - row)
        axes.plot(
            [place, place], [0, top], "--", color=FAILED, lw=1.4, transform=line, clip_on=False
        )
        label, width = _label(mark, edges), bins[-1] / letters
        is_left = place + width * len(label) > bins[-1]
        axes.text(
            place + (-0.7 if is_left else 0.7) * width,
            top,
            label,
            ha="right" if is_left else "left",
            va="top",
            color=FAILED,
            fontsize=7,
            transform=line,
            parse_math=False,
        )


def _label(mark: Mark, edges: np.ndarray) -> str:
    """The label of a limit; arrows show that it is outside of the values."""
    text = "".join(letter if letter.isprintable() else " " for letter in mark.label)
    if mark.at < edges[0]:
        return f"← {text}"
    return f"{text} →" if mark.at > edges[-1] else text


def _label_rows(panel: Panel, letters: float) -> list[int]:
    """The row of each limit's label: the first one, from the top, where it covers no other."""
    rows: list[int] = []
    ends: list[float] = []  # of each row: where its last label ends, in letters
    for mark in panel.marks:
        places = np.linspace(0, letters, len(panel.edges))
        place, length = (
            float(np.interp(mark.at, panel.edges, places)),
            len(_label(mark, panel.edges)),
        )
        start = place - length if place + length > letters else place
        row = next((row for row, end in enumerate(ends) if end < start), len(ends))
        ends[row:] = [start + length + 1, *ends[row + 1 :]]
        rows.append(row)
    return rows


def _rows_of_labels(panel: Panel, letters: float) -> int:
    return max(_label_rows(panel, letters), default=-1) + 1


def _ticks(edges: np.ndarray, letters: float) -> list[tuple[float, str]]:
    """(place in bins, label) of round numbers along the axis, none close enough to touch."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(edges[0]), float(edges[-1])
    widths = np.diff(edges)
    if widths.max() > 10 * widths.min():
        powers = range(math.ceil(math.log10(edges[edges > 0][0])), math.floor(math.log10(high)) + 1)
        values = [*([0.0] if low == 0 else []), *(10.0**power for power in powers)]
    else:
        positions = MaxNLocator(_TICKS, steps=[1, 2, 5, 10]).tick_values(low, high)
        values = [float(value) for value in positions if low <= value <= high]
    ticks: list[tuple[float, str]] = []
    end = -np.inf
    for value in values:
        place, label = float(np.interp(value, edges, np.arange(len(edges)))), short_number(value)
        middle, half = place / (len(edges) - 1) * letters, len(label) / 2
        if middle - half > end:
            ticks.append((place, label))
            end = middle + half + 2
    return ticks
