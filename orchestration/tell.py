"""How the command line says things: tables for what people compare."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.whatif import Comparison
from pipelines.sources import Drop
from store import schema
from store.releases import Release
from store.tables import Tables

_FIGURES = [
    ("R@1", "r@1"),
    ("R@5", "r@5"),
    ("R@10", "r@10"),
    ("MRR", "mrr"),
    ("rank", "median_rank"),
    ("skew", "k_skewness"),
]


def delivered(console: Console, counts: Mapping[Drop, int], folder: Path) -> None:
    table = Table("drop", "records")
    for drop, count in counts.items():
        table.add_row(escape(drop.name), f"{count:,}")
    console.print(table)
    console.print(f"{folder}/corpus.yaml is written; next: isotrope run --corpus {folder}")


def step(console: Console) -> Callable[..., None]:
    """A callback that says which stage is run."""

    def say(stage: str, drop: str | None) -> None:
        console.print(f"  {stage}" + (f" of {escape(drop)}" if drop else ""))

    return say


def funnel(console: Console, tables: Tables) -> None:
    """What went in and came out of every stage, and why records did not pass."""
    stages = tables.scan("stages", schema.STAGES).to_pylist()
    order = [*schema.BY_DROP, *schema.GLOBAL]
    table = Table("stage", "drop", title="what became of it", title_justify="left")
    for name in ("in", "kept", "rejected", "failed", "seconds"):
        table.add_column(name, justify="right")
    for row in sorted(stages, key=lambda s: (order.index(s["stage"]), s["drop"])):
        drop = "all" if row["drop"] == schema.EVERY_DROP else escape(row["drop"])
        counts = [f"{row[n]:,}" for n in ("input", "kept", "rejected", "failed")]
        table.add_row(row["stage"], drop, *counts, f"{row['seconds']:.1f}")
    console.print(table)
    lost = tables.scan("ledger", schema.LEDGER, ["key", "outcome", "rule", "value", "error"])
    for row in lost.slice(0, 5).to_pylist():
        detail = row["error"] or row["value"] or ""
        said = f"{row['outcome']}: {row['key']} ({row['rule']}: {detail})"
        console.print(escape(said), style="dim")
    if lost.num_rows > 5:
        console.print(f"... and {lost.num_rows - 5} more in the ledger", style="dim")


def figures(console: Console, release: Release) -> None:
    """Raw and corrected side by side: `rank` is the median, `skew` of the k-occurrence."""
    said = f"release {release.number}, held-out test pairs, the whole gallery searched"
    table = Table("direction", "scores", title=said, title_justify="left", pad_edge=False)
    for title, _ in _FIGURES:
        table.add_column(title, justify="right")
    for name, found in release.evaluation.items():
        if "raw" not in found:
            table.add_row(name, "no pairs")
            continue
        for side in ("raw", "corrected"):
            shown = [_figure(key, found[side][key]) for _, key in _FIGURES]
            table.add_row(name if side == "raw" else "", side, *shown)
    console.print(table)
    for name, direction in release.directions.items():
        if direction.query != direction.gallery:
            found = release.evaluation[name]
            tested = f"; {found['queries']} test queries" if "queries" in found else ""
            gain = f", {_gain(found['gain'])}" if direction.method != "none" else ""
            console.print(f"{name}: {direction.reason}{tested}{gain}", style="dim")


def comparison(console: Console, found: Comparison) -> None:
    """A policy beside today's."""
    table = Table("", "today", "then", "change")
    lines = [("kept", found.kept), *((f"rejected by {r}", c) for r, c in found.rejected.items())]
    for name, (today, then) in lines:
        table.add_row(name, f"{today:,}", f"{then:,}", f"{then - today:+,}")
    console.print(table)
    console.print(f"of {found.total:,} samples; nothing was changed", style="dim")


def _figure(name: str, value: float) -> str:
    return f"{value:.1f}" if name == "median_rank" else f"{value:.3f}"


def _gain(gain: Mapping[str, Any]) -> str:
    return f"{gain['mean']:+.4f} in MRR ({gain['low']:+.4f} to {gain['high']:+.4f})"
