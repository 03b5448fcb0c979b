"""Plots of what a run did: counts, histograms, cosines, thumbnails. Numbers in, an image out.

Plots of a release's figures are in `retrieval_plots`.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.reports.canvas import (
    FAILED,
    INCHES,
    KEPT,
    LETTER_INCHES,
    REJECTED,
    Ink,
    canvas,
    png,
)

if TYPE_CHECKING:
    pass

_OUTCOME_COLOURS = {"in": "#3d5a80", "kept": KEPT, "rejected": REJECTED, "failed": FAILED}
_TILE = 96  # pixels


class Bar(NamedTuple):
    """One stage of a funnel: what went in is kept + rejected + failed."""

    name: str
    kept: int
    rejected: int = 0
    failed: int = 0


def funnel(bars: Sequence[Bar], dark: bool = False) -> bytes:
    """Stages from top to bottom on one scale: what each kept and lost. Returns a PNG."""
    ink = Ink.of(dark)
    figure, (axes,) = canvas(0.3 + 0.36 * len(bars), ink)
    rows = np.arange(len(bars))
    left = np.zeros(len(bars))
    for field, colour in (("kept", KEPT), ("rejected", REJECTED), ("failed", FAILED)):
        widths = np.array([getattr(bar, field) for bar in bars], float)
        if field == "kept" or widths.any():
            axes.barh(rows, widths, 0.62, left, color=colour, label=field)
        left += widths
    longest = max(left, default=0) or 1
    for row, (bar, end) in enumerate(zip(bars, left, strict=True)):
        axes.text(end + 0.015 * longest, row, _counts(bar), va="center", color=ink.text, fontsize=9)
    axes.set_yticks(rows, [bar.name for bar in bars], color=ink.text, parse_math=False)
    # The layout ignores text, so the limits of the axis leave room for it.
    room = INCHES - LETTER_INCHES * max((len(bar.name) for bar in bars), default=0)
    text = LETTER_INCHES * max((len(_counts(bar)) for bar in bars), default=0)
    axes.set_xlim(0, longest / max(0.08, 1 - text / room))
    axes.set_ylim(max(1, len(bars)) - 0.5, -0.5)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return png(figure)


def _counts(bar: Bar) -> str:
    counts = [f"{bar.kept:,}"]
    counts += [f"−{bar.rejected:,} rejected"] if bar.rejected else []
    counts += [f"−{bar.failed:,} failed"] if bar.failed else []
    return "  ".join(counts)


def outcome_bars(bars: Sequence[tuple[str, int, str]]) -> bytes:
    """What became of records, as a PNG.

    Args:
        bars: (name, count, "in", "kept", "rejected" or "failed"), from top to bottom.
    """
    ink = Ink.of(dark=False)
    figure, (axes,) = canvas(0.4 + 0.3 * len(bars), ink)
    names, counts, outcomes = zip(*bars, strict=True)
    colours = [_OUTCOME_COLOURS[outcome] for outcome in outcomes]
    drawn = axes.barh(range(len(bars)), counts, color=colours)
    axes.set_yticks(range(len(bars)), names, parse_math=False)
    axes.bar_label(drawn, labels=[f"{count:,}" for count in counts], padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    return png(figure)


def similarities(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Histograms of cosines, as a PNG.

    Args:
        panels: by pair of modalities, cosines (n,) of the parts of samples, and cosines (n,) of
            the same parts shuffled.
    """
    ink = Ink.of(dark=False)
    figure, drawn = canvas(2.2, ink, 1, len(panels))
    for axes, (name, (own, shuffled)) in zip(drawn, panels.items(), strict=True):
        edges = np.histogram_bin_edges(np.concatenate([own, shuffled]), bins=40).tolist()
        axes.hist(shuffled, edges, color=REJECTED, alpha=0.7, label="shuffled", density=True)
        axes.hist(own, edges, color=KEPT, alpha=0.7, label="of one sample", density=True)
        axes.set_title(f"{name}: cosine", fontsize=9, color=ink.text)
        axes.legend(frameon=False, fontsize=8, labelcolor=ink.text)
        axes.yaxis.set_visible(False)
    return png(figure)


def contact_sheet(thumbnails: Sequence[bytes], columns: int = 12) -> bytes:
    """Encoded thumbnails side by side, as a PNG."""
    from PIL import Image

    rows = -(-len(thumbnails) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * _TILE), "white")
    for index, encoded in enumerate(thumbnails):
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
        image.thumbnail((_TILE - 8, _TILE - 8))
        left, top = index % columns * _TILE, index // columns * _TILE
        sheet.paste(image, (left + (_TILE - image.width) // 2, top + 4))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
