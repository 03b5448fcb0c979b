"""Pictures of what a run did, as PNG: plain numbers in, bytes out, no global state."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


KEPT, REJECTED, FAILED = "#2a9d8f", "#e9a03b", "#d1495b"
INCHES = 4.7  # so narrow that its type can still be read on a phone
_DPI = 180
_ACROSS = 3  # histograms in a row
LETTER = 0.074  # inches


class Bar(NamedTuple):
    """One stage of a funnel: what went in is kept + rejected + failed."""

    name: str
    kept: int
    rejected: int = 0
    failed: int = 0


def funnel(bars: Sequence[Bar], dark: bool = False) -> bytes:
    """Stages from top to bottom, what each kept and lost, on one scale."""
    ink = Ink.of(dark)
    figure, (axes,) = canvas(0.3 + 0.36 * len(bars), ink)
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
    room = INCHES - LETTER * max((len(bar.name) for bar in bars), default=0)
    words = LETTER * max((len(_lost(bar)) for bar in bars), default=0)
    axes.set_xlim(0, whole / max(0.08, 1 - words / room))
    axes.set_ylim(max(1, len(bars)) - 0.5, -0.5)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return png(figure)


class Panel(NamedTuple):
    """A histogram: counts (n,) between edges (n + 1,), and limits by name, such as {"min": 32}."""

    name: str
    counts: np.ndarray
    edges: np.ndarray
    limits: Mapping[str, float]


def histograms(panels: Sequence[Panel], dark: bool = False) -> bytes:
    """Histograms side by side, the limits drawn in. Every bin is as wide as the others, whatever it
    holds; the numbers below are the edges of the first, the middle and the last."""
    ink = Ink.of(dark)
    rows = max(1, -(-len(panels) // _ACROSS))
    figure, drawn = canvas(1.55 * rows, ink, rows, min(len(panels), _ACROSS) or 1)
    for axes, panel in zip(drawn, panels, strict=False):
        count = len(panel.counts)
        axes.stairs(panel.counts, np.arange(count + 1), fill=True, color=KEPT)
        for word, limit in panel.limits.items():
            place = np.interp(limit, panel.edges, np.arange(count + 1))
            axes.axvline(place, color=FAILED, ls="--", lw=1.3, label=f"{word} {limit:g}")
        if panel.limits:
            axes.legend(frameon=False, fontsize=7, labelcolor=ink.text, loc="upper right")
        axes.set_title(panel.name, fontsize=8, color=ink.text, loc="left", parse_math=False)
        shown = [0, count // 2, count] if count > 1 else [0, count]
        axes.set_xticks(shown, [said(panel.edges[place]) for place in shown], fontsize=7)
        axes.set_yticks([0, int(max(1, panel.counts.max(initial=0)))])
        axes.tick_params(axis="y", labelsize=7)
    for axes in drawn[len(panels) :]:
        axes.set_visible(False)
    return png(figure)


class Ink(NamedTuple):
    """Colours of what is not data, on light or dark paper."""

    text: str
    line: str
    paper: str

    @classmethod
    def of(cls, dark: bool) -> "Ink":
        return cls("#c9ced6", "#3a4049", "#15181c") if dark else cls("#3c434d", "#d5d9df", "white")


def canvas(
    height: float, ink: Ink, panels: int = 1, across: int = 1
) -> "tuple[Figure, list[Axes]]":
    """An empty figure of that many inches, with rows of panels from top to bottom."""
    from matplotlib.figure import Figure

    size = (INCHES * (1 if across == 1 else 0.55 * across), height)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor=ink.paper)
    drawn = figure.subplots(panels, across, squeeze=False).ravel().tolist()
    for axes in drawn:
        axes.set_facecolor(ink.paper)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(ink.line)
        axes.tick_params(which="both", color=ink.line, labelcolor=ink.text, labelsize=9)
    return figure, drawn


def _lost(bar: Bar) -> str:
    words = [f"{bar.kept:,}"]
    words += [f"−{bar.rejected:,} rejected"] if bar.rejected else []
    words += [f"−{bar.failed:,} failed"] if bar.failed else []
    return "  ".join(words)


def plain(value: float, _: Any = None) -> str:
    """A number on an axis, written out."""
    return f"{value:,.0f}"


def said(value: float) -> str:
    """A number as short as it can be read: 0.25, 1,200, 3.4M."""
    return _short(value).replace("-", "−")


def _short(value: float) -> str:
    size = abs(value)
    for power, letter in ((1e9, "G"), (1e6, "M")):
        if size >= power:
            return f"{value / power:.3g}{letter}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 1e-3 or not size else f"{value:.0e}"


def png(figure: "Figure") -> bytes:
    """A finished figure."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    small = io.BytesIO()
    # Flat colours and their edges: a palette looks the same and is a third of the size.
    Image.open(drawn).convert("RGB").quantize(64).save(small, "png", optimize=True)
    return small.getvalue()


_COLOURS = {"in": "#3d5a80", "kept": KEPT, "rejected": REJECTED, "failed": FAILED}
_TILE = 96


def fates(bars: Sequence[tuple[str, int, str]]) -> bytes:
    """What became of records: (rule, how many, "in", "kept", "rejected" or "failed")."""
    figure = _figure(8, 0.7 + 0.42 * len(bars))
    axes = figure.subplots()
    labels, counts, outcomes = zip(*bars, strict=True)
    colours = [_COLOURS[outcome] for outcome in outcomes]
    drawn = axes.barh(range(len(bars)), counts, color=colours)
    axes.set_yticks(range(len(bars)), labels)
    axes.bar_label(drawn, labels=[f"{count:,}" for count in counts], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    return _png(figure)


def similarities(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """For each pair of modalities, cosines of samples' own pairs and of shuffled ones."""
    figure = _figure(5.0 * len(panels), 2.8)
    for axes, (name, (own, shuffled)) in zip(
        figure.subplots(1, len(panels), squeeze=False).ravel(), panels.items(), strict=True
    ):
        edges = np.histogram_bin_edges(np.concatenate([own, shuffled]), bins=40)
        axes.hist(shuffled, edges, color=REJECTED, alpha=0.7, label="shuffled", density=True)
        axes.hist(own, edges, color=KEPT, alpha=0.7, label="of one sample", density=True)
        axes.set_title(f"{name}: cosine", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.yaxis.set_visible(False)
    return _png(figure)


def contact_sheet(thumbnails: Sequence[bytes], columns: int = 12) -> bytes:
    """Thumbnails side by side."""
    from PIL import Image

    rows = -(-len(thumbnails) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * _TILE), "white")
    for place, encoded in enumerate(thumbnails):
        with Image.open(io.BytesIO(encoded)) as opened:
            shown = opened.convert("RGB")
        shown.thumbnail((_TILE - 8, _TILE - 8))
        across, down = place % columns * _TILE, place // columns * _TILE
        sheet.paste(shown, (across + (_TILE - shown.width) // 2, down + 4))
    return _encoded(sheet)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _encoded(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
