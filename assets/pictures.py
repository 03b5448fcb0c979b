"""Pictures of distributions, as PNG. Each takes plain numbers and knows nothing of tables."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

GOOD, BAD, WORSE, PLAIN = "#2a9d8f", "#e9a03b", "#d1495b", "#3d5a80"
_TILE = 96


def funnel(bars: Sequence[tuple[str, int, str]]) -> bytes:
    """Horizontal bars (label, count, colour), the first on top."""
    figure = Figure(figsize=(8, 0.7 + 0.42 * len(bars)), layout="constrained")
    axes = figure.subplots()
    labels, counts, colours = zip(*bars, strict=True)
    drawn = axes.barh(range(len(bars)), counts, color=colours)
    axes.set_yticks(range(len(bars)), labels)
    axes.bar_label(drawn, labels=[f"{count:,}" for count in counts], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    return _png(figure)


def histograms(
    values: Mapping[str, np.ndarray], limits: Mapping[str, tuple[float | None, float | None]]
) -> bytes:
    """One panel a signal; what lies outside its (min, max) is what the policy rejects."""
    columns = min(3, len(values))
    rows = -(-len(values) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, numbers) in zip(panels, values.items(), strict=False):
        least, most = limits.get(name, (None, None))
        _, edges, patches = axes.hist(numbers, bins=30, color=GOOD)
        for left, right, patch in zip(edges, edges[1:], patches, strict=False):
            low, high = least is not None and right <= least, most is not None and left > most
            patch.set_facecolor(BAD if low or high else GOOD)
        for limit, word in ((least, "min"), (most, "max")):
            if limit is not None:
                axes.axvline(limit, color=WORSE, linestyle="--", label=f"{word} {limit:g}")
                axes.legend(frameon=False, fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_yscale("symlog")
    for axes in panels[len(values) :]:
        axes.set_visible(False)
    return _png(figure)


def similarities(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """For each pair of modalities, cosines of samples' own pairs and of shuffled ones."""
    figure = Figure(figsize=(5.0 * len(panels), 2.8), layout="constrained")
    for axes, (name, (own, shuffled)) in zip(
        figure.subplots(1, len(panels), squeeze=False).ravel(), panels.items(), strict=True
    ):
        edges = np.histogram_bin_edges(np.concatenate([own, shuffled]), bins=40)
        axes.hist(shuffled, edges, color=BAD, alpha=0.7, label="shuffled", density=True)
        axes.hist(own, edges, color=GOOD, alpha=0.7, label="of one sample", density=True)
        axes.set_title(f"{name}: cosine", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.yaxis.set_visible(False)
    return _png(figure)


def occurrences(panels: Mapping[str, Mapping[str, Sequence[int]]]) -> bytes:
    """How many gallery items stand in how many top-ten lists, before and after correction.

    A space without hubs has a short tail; both axes grow like logarithms to show it.
    """
    figure = Figure(figsize=(5.4 * len(panels), 3.2), layout="constrained")
    for axes, (name, sides) in zip(
        figure.subplots(1, len(panels), squeeze=False).ravel(), panels.items(), strict=True
    ):
        for side, colour in (("raw", BAD), ("corrected", GOOD)):
            items = np.asarray(sides[side], float)
            times = np.flatnonzero(items)
            axes.plot(times, items[times], "o-", color=colour, label=side, ms=4, lw=1)
        axes.set_xscale("symlog")
        axes.set_yscale("log")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("top-ten lists that an item is in")
        axes.set_ylabel("items")
        axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def contact_sheet(thumbnails: Sequence[bytes], columns: int = 12) -> bytes:
    """Thumbnails side by side."""
    rows = -(-len(thumbnails) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * _TILE), "white")
    for place, encoded in enumerate(thumbnails):
        with Image.open(io.BytesIO(encoded)) as opened:
            shown = opened.convert("RGB")
        shown.thumbnail((_TILE - 8, _TILE - 8))
        across, down = place % columns * _TILE, place // columns * _TILE
        sheet.paste(shown, (across + (_TILE - shown.width) // 2, down + 4))
    return _encoded(sheet)


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _encoded(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
