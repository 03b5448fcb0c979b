"""Pictures of a release's figures, as PNG: hubs, scores, and what was tried, before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.reports.measures import sides
from pipelines.reports.plots import KEPT, REJECTED, Ink, canvas, plain, png
from store.tables.releases import Direction, Release

SIDES = {"raw": REJECTED, "corrected": KEPT}
KINDS = {"unrelated": "#9aa3af", "matching": "#4c7bd9"}
MEASURES = {"r@1": ("R@1", "D", "#4c7bd9"), "mrr": ("mean reciprocal rank", "o", KEPT)}


ABOUT = {
    "k-occurrence": "How many gallery items stand how often in the queries' top ten",
    "similarities": "How the scores of matching pairs lie to those of unrelated ones",
    "methods": "What each method reached on the validation pairs",
}


def draw(direction: Direction, found: Mapping[str, Any], dark: bool = False) -> dict[str, bytes]:
    """Every picture that one direction's figures allow, by the names of ABOUT.

    Args:
        direction: what the release says of it.
        found: its figures, as `pipelines.release.evaluate.evaluate_directions` gives them.
    """
    shown = sides(found, direction.method)
    pictures = {}
    if "k_occurrence" in found:
        pictures["k-occurrence"] = k_occurrence({s: found["k_occurrence"][s] for s in shown}, dark)
    if "similarities" in found:
        pictures["similarities"] = similarities({s: found["similarities"][s] for s in shown}, dark)
    if len(best_settings(direction.tried)) > 1:
        pictures["methods"] = methods(direction.tried, direction.method, dark)
    return pictures


def write_pictures(release: Release, evaluation: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the figures of every direction into a folder, as text-image-methods.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, found in evaluation.items():
        direction = release.directions[name]
        for what, drawn in draw(direction, found).items():
            path = folder / f"{direction.query}-{direction.gallery}-{what}.png"
            path.write_bytes(drawn)
            written.append(path)
    return written


def k_occurrence(counts: Mapping[str, Sequence[int]], dark: bool = False) -> bytes:
    """How many gallery items stand in at least 1, 2, 3 ... of the queries' top tens.

    Both axes are logarithmic. A hub is an item far to the right; the further a line reaches, the
    worse its hubs. Items that stand in none have no place on the axis: the legend tells of them.

    Args:
        counts: "raw", "corrected" or both; index i holds the number of items that stand i times.
    """
    from matplotlib.ticker import NullLocator

    ink = Ink.of(dark)
    figure, (axes,) = canvas(2.9, ink)
    longest, highest = 1, 1
    for place, (side, items) in enumerate(counts.items()):
        whole = np.trim_zeros(np.asarray(items, np.int64), "b")
        at_least = np.cumsum(whole[::-1])[::-1][1:]
        farthest = len(at_least)
        never = whole[0] / whole.sum() if whole.size else 0.0
        label = f"{side}: at most {farthest:,} times, {never:.0%} never"
        style: dict[str, Any] = {"fill": True, "alpha": 0.55} if place == 0 else {"lw": 1.8}
        edges = np.arange(farthest + 1) + 0.5
        axes.stairs(
            at_least, edges, baseline=0.5, color=SIDES.get(side, KEPT), label=label, **style
        )
        longest, highest = max(longest, farthest), max(highest, *at_least, 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.5, 1.25 * longest + 1)
    axes.set_ylim(0.6, 1.6 * highest)
    for axis, most in ((axes.xaxis, longest), (axes.yaxis, highest)):
        axis.set_major_formatter(plain)
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(_ticks(most))
    axes.set_xlabel("top tens in which an item stands, at least", color=ink.text)
    axes.set_ylabel("gallery items", color=ink.text)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9, labelcolor=ink.text)
    return png(figure)


def similarities(panels: Mapping[str, Mapping[str, Any]], dark: bool = False) -> bytes:
    """Scores of matching and of unrelated pairs, each as shares of its own kind.

    A panel has its own scale: a bias moves all scores, and only how the two lie to each other
    tells. AUC is the chance that a matching pair scores above an unrelated one.

    Args:
        panels: "raw", "corrected" or both; each as `store.metrics.histograms` gives it.
    """
    ink = Ink.of(dark)
    figure, places = canvas(0.45 + 1.45 * len(panels), ink, len(panels))
    for axes, (side, found) in zip(places, panels.items(), strict=True):
        for kind, colour in KINDS.items():
            heights = np.asarray(found[kind], float)
            edges = np.linspace(found["low"], found["high"], len(heights) + 1)
            shares = heights / (heights.sum() or 1)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.55, label=f"{kind} pairs")
            axes.stairs(shares, edges, color=colour, lw=1.2)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.set_title(
            f"{side} scores, AUC {found['auc']:.3f}", loc="left", fontsize=9, color=ink.text
        )
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=9,
        labelcolor=ink.text,
    )  # fmt: skip
    return png(figure)


def best_settings(tried: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The best setting of each method by mean reciprocal rank, best first; `tried` as
    `store.corrections.select` gives its table."""
    best: dict[str, Mapping[str, Any]] = {}
    for row in tried:
        if "mrr" in row and row["mrr"] > best.get(row["method"], {"mrr": -1.0})["mrr"]:
            best[row["method"]] = row
    return sorted(best.values(), key=lambda row: -row["mrr"])


def methods(tried: Sequence[Mapping[str, Any]], chosen: str, dark: bool = False) -> bytes:
    """What each method's best setting reached on the validation pairs; lines are the raw scores.

    The bar through a dot is the 95% interval of its gain over raw, laid at raw: a bar that touches
    the line may be chance.

    Args:
        tried: rows with method, mrr, r@1 and gain (mean, low, high), raw as "none" among them.
        chosen: the method that the direction got, in bold.
    """
    rows = best_settings(tried)
    ink = Ink.of(dark)
    figure, (axes,) = canvas(1.05 + 0.29 * len(rows), ink)
    raw = next((row for row in rows if row["method"] == "none"), None)
    for measure, (label, marker, colour) in MEASURES.items():
        if raw and measure in raw:
            axes.axvline(raw[measure], color=colour, lw=1, ls="--", zorder=1)
        places = [i for i, row in enumerate(rows) if measure in row]
        values = [rows[i][measure] for i in places]
        axes.plot(values, places, marker, color=colour, ms=5, label=label, zorder=3)
    for place, row in enumerate(rows):
        low, high = _ends(row.get("gain"))
        if raw and row is not raw and np.isfinite([low, high]).all():
            span = [raw["mrr"] + low, raw["mrr"] + high]
            axes.plot(span, [place, place], color=KEPT, lw=2.2, alpha=0.5, zorder=2)
    names = [_name(row["method"]) for row in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False, fontsize=8)
    for written, row in zip(axes.get_yticklabels(), rows, strict=True):
        written.set_fontweight("bold" if row["method"] == chosen else "normal")
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("on validation pairs; dashed: raw", color=ink.text, fontsize=9)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9, labelcolor=ink.text)
    return png(figure)


def _ticks(most: int) -> list[int]:
    """1, 2, 5, 10 ... up to `most`; 1, 10, 100 ... where those would crowd the axis."""
    steps = (1, 2, 5) if most < 500 else (1,)
    return [s * 10**e for e in range(len(str(most))) for s in steps if s * 10**e <= most]


def _ends(gain: Any) -> tuple[float, float]:
    """Low and high of an interval that was stored as {mean, low, high} or as a list."""
    if isinstance(gain, Mapping):
        return float(gain["low"]), float(gain["high"])
    return (float(gain[1]), float(gain[2])) if gain else (float("nan"), float("nan"))


def _name(method: str) -> str:
    return "raw" if method == "none" else method.replace("+", " +\n")
