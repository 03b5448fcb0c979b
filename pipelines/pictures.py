"""Pictures of what a run did, as PNG: plain numbers in, bytes out, no global state."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEPT, REJECTED, FAILED = "#2a9d8f", "#e9a03b", "#d1495b"
SIDES = {"raw": REJECTED, "corrected": KEPT}
_INCHES = 4.7  # so narrow that its type can still be read on a phone
_DPI = 180
_BARS = 48
_LETTER = 0.074  # inches


class Bar(NamedTuple):
    """One stage of a funnel: what went in is kept + rejected + failed."""

    name: str
    kept: int
    rejected: int = 0
    failed: int = 0


def funnel(bars: Sequence[Bar], dark: bool = False) -> bytes:
    """Stages from top to bottom, what each kept and lost, on one scale."""
    ink = _Ink.of(dark)
    figure, axes = _canvas(0.3 + 0.36 * len(bars), ink)
    places = np.arange(len(bars))
    left = np.zeros(len(bars))
    for field, colour in (("kept", KEPT), ("rejected", REJECTED), ("failed", FAILED)):
        widths = np.array([getattr(bar, field) for bar in bars], float)
        if field == "kept" or widths.any():
            axes.barh(places, widths, 0.62, left, color=colour, label=field)
        left += widths
    whole = max(left, default=0) or 1
    for place, (bar, end) in enumerate(zip(bars, left, strict=True)):
        axes.text(end + 0.015 * whole, place, _lost(bar), va="center", color=ink.text, fontsize=9)
    axes.set_yticks(places, [bar.name for bar in bars], color=ink.text, parse_math=False)
    # Text takes no part in the layout: the bars leave it the room that it is going to need.
    room = _INCHES - _LETTER * max((len(bar.name) for bar in bars), default=0)
    words = _LETTER * max((len(_lost(bar)) for bar in bars), default=0)
    axes.set_xlim(0, whole / max(0.08, 1 - words / room))
    axes.set_ylim(max(1, len(bars)) - 0.5, -0.5)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return _png(figure)


def k_occurrence(counts: Mapping[str, Sequence[int]], dark: bool = False) -> bytes:
    """How many gallery items stand in 0, 1, 2 ... of the queries' top ten.

    A hub is an item far to the right: few items are, which is why the y axis is logarithmic.

    Args:
        counts: "raw", "corrected" or both; index i holds the number of items that stand i times.
    """
    ink = _Ink.of(dark)
    figure, axes = _canvas(2.7, ink)
    longest = max((len(c) for c in counts.values()), default=0) or 1
    width = max(1, -(-longest // _BARS))
    edges = np.arange(0, longest + width, width) - 0.5
    highest = 1.0
    for place, (side, items) in enumerate(counts.items()):
        heights, _ = np.histogram(np.arange(len(items)), edges, weights=np.asarray(items, float))
        highest = max(highest, *heights)
        style: dict[str, Any] = {"fill": True, "alpha": 0.55} if place == 0 else {"lw": 1.8}
        farthest = max(np.flatnonzero(items), default=0)
        label = f"{side}, at most {farthest:,} times"
        axes.stairs(heights, edges, baseline=0.4, color=SIDES.get(side, KEPT), label=label, **style)
    axes.set_yscale("log")
    axes.set_ylim(0.5, highest * 1.6)
    axes.set_xlim(left=-0.5)
    axes.locator_params(axis="x", integer=True)
    each = "" if width == 1 else f", {width} to a bar"
    axes.set_xlabel(f"top tens in which an item stands{each}", color=ink.text)
    axes.set_ylabel("gallery items", color=ink.text)
    axes.legend(frameon=False, fontsize=9, labelcolor=ink.text)
    _plain_numbers(axes)
    return _png(figure)


def histogram(
    values: Iterable[float],
    name: str,
    thresholds: Mapping[str, float] | None = None,
    dark: bool = False,
) -> bytes:
    """The distribution of a signal, with the policy's limits drawn in.

    Args:
        values: measurements; those that are no finite number are left out.
        name: the signal's.
        thresholds: limits by name, such as {"min": 32}.
    """
    ink = _Ink.of(dark)
    figure, axes = _canvas(2.4, ink)
    numbers = np.asarray(list(values), float)
    numbers = numbers[np.isfinite(numbers)]
    edges = _edges(numbers)
    axes.hist(numbers, edges, color=KEPT)
    axes.set_xscale("linear" if isinstance(edges, int) else "log")
    for word, limit in (thresholds or {}).items():
        axes.axvline(limit, color=FAILED, ls="--", lw=1.5, label=f"{word} {limit:g}")
    if thresholds:
        axes.legend(frameon=False, fontsize=9, labelcolor=ink.text)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(name, color=ink.text, parse_math=False)
    axes.set_ylabel("samples", color=ink.text)
    _plain_numbers(axes)
    return _png(figure)


class _Ink(NamedTuple):
    text: str
    line: str
    paper: str

    @classmethod
    def of(cls, dark: bool) -> "_Ink":
        return cls("#c9ced6", "#3a4049", "#15181c") if dark else cls("#3c434d", "#d5d9df", "white")


def _canvas(height: float, ink: _Ink) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_INCHES, height), dpi=_DPI, layout="constrained", facecolor=ink.paper)
    axes = figure.subplots()
    axes.set_facecolor(ink.paper)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink.line)
    axes.tick_params(which="both", color=ink.line, labelcolor=ink.text, labelsize=9)
    return figure, axes


def _lost(bar: Bar) -> str:
    words = [f"{bar.kept:,}"]
    words += [f"−{bar.rejected:,} rejected"] if bar.rejected else []
    words += [f"−{bar.failed:,} failed"] if bar.failed else []
    return "  ".join(words)


def _edges(numbers: np.ndarray) -> Any:
    if numbers.size and numbers.min() > 0 and numbers.max() > 1000 * numbers.min():
        return np.geomspace(numbers.min(), numbers.max(), _BARS + 1)
    return min(_BARS, max(1, len(np.unique(numbers))))


def _plain_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _png(figure: "Figure") -> bytes:
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    small = io.BytesIO()
    # Flat colours and their edges: a palette looks the same and is a third of the size.
    Image.open(drawn).convert("RGB").quantize(64).save(small, "png", optimize=True)
    return small.getvalue()
