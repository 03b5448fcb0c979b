"""Plots of a release's evaluation, as PNG: hubs, scores, and the methods that were tried."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.reports.canvas import KEPT, REJECTED, Ink, canvas, full_number, png
from pipelines.reports.measures import sides
from store.tables.direction import Direction
from store.tables.releases import Release

SIDES = {"raw": REJECTED, "corrected": KEPT}
KINDS = {"unrelated": "#9aa3af", "matching": "#4c7bd9"}
MEASURES = {"r@1": ("R@1", "D", "#4c7bd9"), "mrr": ("mean reciprocal rank", "o", KEPT)}

# Captions of the plots, which are also their alternative texts.
ABOUT = {
    "k-occurrence": "Gallery items by the number of queries whose top ten they are in",
    "similarities": "Scores of matching pairs and of unrelated pairs",
    "methods": "What each method reached on the validation pairs",
}


def draw(direction: Direction, figures: Mapping[str, Any], dark: bool = False) -> dict[str, bytes]:
    """The plots of one direction for which there are figures, by the names of `ABOUT`.

    Args:
        direction: a direction of a release.
        figures: its evaluation, as returned by `evaluate_directions`.
        dark: for a dark page.
    """
    compared = sides(figures, direction.method)
    plots = {}
    if "k_occurrence" in figures:
        counts = {side: figures["k_occurrence"][side] for side in compared}
        plots["k-occurrence"] = k_occurrence(counts, dark)
    if "similarities" in figures:
        panels = {side: figures["similarities"][side] for side in compared}
        plots["similarities"] = similarities(panels, dark)
    if len(best_settings(direction.tried)) > 1:
        plots["methods"] = methods(direction.tried, direction.method, dark)
    return plots


def write_pictures(release: Release, evaluation: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the plots of every direction into a folder, such as text-image-methods.png."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figures in evaluation.items():
        direction = release.directions[name]
        for plot, drawn in draw(direction, figures).items():
            path = folder / f"{direction.query}-{direction.gallery}-{plot}.png"
            path.write_bytes(drawn)
            written.append(path)
    return written


def k_occurrence(counts: Mapping[str, Sequence[int]], dark: bool = False) -> bytes:
    """How many gallery items are in the top tens of at least 1, 2, 3 ... queries.

    Both axes are logarithmic. A hub is an item far to the right: the further a line reaches, the
    worse its hubs. Items in no top ten are not on the axis; the legend gives their share.

    Args:
        counts: by "raw", "corrected" or both; index i holds the number of items in i top tens.
        dark: for a dark page.
    """
    from matplotlib.ticker import NullLocator

    ink = Ink.of(dark)
    figure, (axes,) = canvas(2.9, ink)
    longest, highest = 1, 1
    for index, (side, items) in enumerate(counts.items()):
        items_by_count = np.trim_zeros(np.asarray(items, np.int64), "b")
        at_least = np.cumsum(items_by_count[::-1])[::-1][1:]
        most = len(at_least)
        never = items_by_count[0] / items_by_count.sum() if items_by_count.size else 0.0
        label = f"{side}: at most {most:,} times, {never:.0%} never"
        style: dict[str, Any] = {"fill": True, "alpha": 0.55} if index == 0 else {"lw": 1.8}
        edges = np.arange(most + 1) + 0.5
        axes.stairs(
            at_least, edges, baseline=0.5, color=SIDES.get(side, KEPT), label=label, **style
        )
        longest, highest = max(longest, most), max(highest, *at_least, 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.5, 1.25 * longest + 1)
    axes.set_ylim(0.6, 1.6 * highest)
    for axis, most in ((axes.xaxis, longest), (axes.yaxis, highest)):
        axis.set_major_formatter(full_number)
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(_log_ticks(most))
    axes.set_xlabel("queries with the item in their top ten, at least", color=ink.text)
    axes.set_ylabel("gallery items", color=ink.text)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9, labelcolor=ink.text)
    return png(figure)


def similarities(panels: Mapping[str, Mapping[str, Any]], dark: bool = False) -> bytes:
    """Histograms of the scores of matching and of unrelated pairs, as shares of each.

    Every panel has its own scale: a bias moves all scores, and only the position of the two
    histograms to each other matters. AUC is the probability that a matching pair scores higher
    than an unrelated one.

    Args:
        panels: by "raw", "corrected" or both, as returned by `store.metrics.histograms`.
        dark: for a dark page.
    """
    ink = Ink.of(dark)
    figure, drawn = canvas(0.45 + 1.45 * len(panels), ink, len(panels))
    for axes, (side, scores) in zip(drawn, panels.items(), strict=True):
        for kind, colour in KINDS.items():
            counts = np.asarray(scores[kind], float)
            edges = np.linspace(scores["low"], scores["high"], len(counts) + 1)
            shares = counts / (counts.sum() or 1)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.55, label=f"{kind} pairs")
            axes.stairs(shares, edges, color=colour, lw=1.2)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.set_title(
            f"{side} scores, AUC {scores['auc']:.3f}", loc="left", fontsize=9, color=ink.text
        )
    handles, labels = drawn[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=9,
        labelcolor=ink.text,
    )  # fmt: skip
    return png(figure)


def best_settings(tried: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The best setting of each method by mean reciprocal rank, best first.

    Args:
        tried: the table of settings, as returned by `store.corrections.select`.
    """
    best: dict[str, Mapping[str, Any]] = {}
    for row in tried:
        if "mrr" in row and row["mrr"] > best.get(row["method"], {"mrr": -1.0})["mrr"]:
            best[row["method"]] = row
    return sorted(best.values(), key=lambda row: -row["mrr"])


def methods(tried: Sequence[Mapping[str, Any]], chosen: str, dark: bool = False) -> bytes:
    """What the best setting of each method reached on the validation pairs.

    Dashed lines are the raw scores. The bar through a dot is the 95% interval of the gain over
    raw, added to the raw score: if it touches the line, the gain may be chance.

    Args:
        tried: rows with method, mrr, r@1 and gain (mean, low, high), among them "none" for raw.
        chosen: the method of the direction, set in bold.
        dark: for a dark page.
    """
    rows = best_settings(tried)
    ink = Ink.of(dark)
    figure, (axes,) = canvas(1.05 + 0.29 * len(rows), ink)
    raw = next((row for row in rows if row["method"] == "none"), None)
    for measure, (label, marker, colour) in MEASURES.items():
        if raw and measure in raw:
            axes.axvline(raw[measure], color=colour, lw=1, ls="--", zorder=1)
        heights = [i for i, row in enumerate(rows) if measure in row]
        values = [rows[i][measure] for i in heights]
        axes.plot(values, heights, marker, color=colour, ms=5, label=label, zorder=3)
    for height, row in enumerate(rows):
        low, high = _ends(row.get("gain"))
        if raw and row is not raw and np.isfinite([low, high]).all():
            interval = [raw["mrr"] + low, raw["mrr"] + high]
            axes.plot(interval, [height, height], color=KEPT, lw=2.2, alpha=0.5, zorder=2)
    names = [_name(row["method"]) for row in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False, fontsize=8)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if row["method"] == chosen else "normal")
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("on validation pairs; dashed: raw", color=ink.text, fontsize=9)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9, labelcolor=ink.text)
    return png(figure)


def _log_ticks(most: int) -> list[int]:
    """1, 2, 5, 10 ... up to `most`; from 500 on only 1, 10, 100 ..., which have room."""
    steps = (1, 2, 5) if most < 500 else (1,)
    return [s * 10**e for e in range(len(str(most))) for s in steps if s * 10**e <= most]


def _ends(gain: Any) -> tuple[float, float]:
    """Low and high of an interval that is stored as {mean, low, high} or as a list."""
    if isinstance(gain, Mapping):
        return float(gain["low"]), float(gain["high"])
    return (float(gain[1]), float(gain[2])) if gain else (float("nan"), float("nan"))


def _name(method: str) -> str:
    return "raw" if method == "none" else method.replace("+", " +\n")
