"""How the command line says things: tables for what people compare."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.policy.whatif import Comparison
from pipelines.reports.measures import GEOMETRY, MEASURES, ends, listed, plain, sides
from pipelines.sources.drops import Drop
from store.tables.lance_tables import Tables
from store.tables.projections import Learned
from store.tables.releases import Release
from store.tables.stages import EVERY_DROP


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
    """Print the counts of every stage, and some of the records that were lost."""
    # DuckDB takes 0.2 s to import, and most commands do without it.
    from pipelines.reports.outcomes import COUNTS, read_lost, read_stages

    table = Table("stage", "drop", title="what became of it", title_justify="left")
    for name in ("in", "kept", "rejected", "failed", "seconds"):
        table.add_column(name, justify="right")
    for counts in read_stages(tables):
        drop = "all" if counts.drop == EVERY_DROP else escape(counts.drop)
        numbers = [f"{getattr(counts, name):,}" for name in COUNTS]
        table.add_row(counts.stage, drop, *numbers, f"{counts.seconds:.1f}")
    console.print(table)
    lost, total = read_lost(tables, _MOST_LOST)
    for row in lost:
        detail = row["error"] or row["value"] or ""
        line = f"{row['outcome']}: {row['key']} ({row['rule']}: {detail})"
        console.print(escape(line), style="dim")
    if total > len(lost):
        console.print(f"... and {total - len(lost)} more in the ledger", style="dim")


_MOST_LOST = 5


def gains(console: Console, release: Release) -> None:
    """The few figures that tell what correction does, all directions in one table."""
    title = f"release {release.number}, test pairs, the whole gallery searched"
    table = Table("direction", "scores", title=title, title_justify="left", pad_edge=False)
    few = [m for m in MEASURES if m.key in _FEW]
    for measure in few:
        table.add_column(measure.short, justify="right")
    for name, found in release.evaluation.items():
        if "raw" not in found:
            continue
        for side in sides(found, found["method"]):
            shown = [plain(found[side][m.key], m.decimal) for m in few]
            label = found["method"] if side == "corrected" else "raw"
            table.add_row(name if side == "raw" else "", label, *shown)
    console.print(table)
    console.print("intervals, languages and the rest: isotrope evaluate", style="dim")


def alignment(console: Console, learned: Sequence[Learned]) -> None:
    """How well projections do on the pairs that were held out to stop by, chance beside it."""
    table = Table("projection", "direction", "pairs", "held out", "R@1", "R@10", "R@10 by chance")
    for column in table.columns[2:]:
        column.justify = "right"
    for each in learned:
        held = each.figures["validation_pairs"]
        for direction, found in each.figures.items():
            if "->" in direction and each.modality in direction.split("->"):
                shown = (f"{found[name]:.3f}" for name in ("r@1", "r@10"))
                counts = f"{each.figures['pairs']:,}", f"{held:,}"
                table.add_row(each.modality, direction, *counts, *shown, f"{10 / held:.3f}")
    console.print(table)


_FEW = ("r@1", "r@10", "mrr", "median_rank", "k_skewness")


def figures(console: Console, release: Release, evaluation: Mapping[str, Any]) -> None:
    """Raw and corrected side by side, direction by direction, with 95% intervals."""
    console.print(f"release {release.number}, test pairs, the whole gallery searched")
    if not evaluation:
        console.print("no direction is corrected, so there is nothing to fit on the test queries")
    for name, direction in release.directions.items():
        found = evaluation.get(name)
        if found is None:
            continue
        console.print()
        if "raw" not in found:
            console.print(f"{name}: no test pairs")
            continue
        label, counts = found.get("protocol", "inductive"), (found["queries"], found["gallery"])
        said = f"{name} by {direction.method}, {label}: {counts[0]:,} queries, {counts[1]:,} items"
        console.print(escape(said), style="bold")
        console.print(_measured(found, direction.method))
        shape = [f"{GEOMETRY[g]} {found[g]:.3f}" for g in GEOMETRY if g in found]
        if "similarities" in found:
            compared = sides(found, direction.method)
            aucs = (f"{found['similarities'][side]['auc']:.3f} {side}" for side in compared)
            shape.append(f"AUC {' and '.join(aucs)}")
        for line in (", ".join(shape), found.get("reason")):
            if line:
                console.print(escape(line), style="dim")
        if "languages" in found:
            console.print("the same texts in other languages")
            console.print(_spoken(found["languages"], direction.method))


def _measured(found: Mapping[str, Any], method: str) -> Table:
    """One direction's measures: a value, its interval, and what the correction gained."""
    shown = sides(found, method)
    table = _narrow("")
    for head in [*shown, *(["gain"] if len(shown) > 1 else [])]:
        table.add_column(head, justify="right")
        table.add_column("95%", justify="right", style="dim", no_wrap=True)
    for measure in listed(found):
        cells = []
        for side in shown:
            interval = found.get("intervals", {}).get(side, {}).get(measure.key)
            cells += [plain(found[side][measure.key], measure.decimal), _span(interval)]
        if len(shown) > 1:
            gain = found.get("gains", {}).get(measure.key)
            cells += [plain(gain["mean"], "+.3f"), _span(gain, "+.3f")] if gain else ["", ""]
        table.add_row(measure.short, *cells)
    return table


def _spoken(told: Mapping[str, Any], method: str) -> Table:
    """R@10 of the same texts in several languages."""
    shown = sides(told, method)
    table = _narrow("language")
    table.add_column("texts", justify="right")
    for side in shown:
        table.add_column(f"R@10, {side}", justify="right")
    for code, queries in told["queries"].items():
        scores = (f"{told[side]['r@10'][code]:.3f}" for side in shown)
        table.add_row(escape(code), f"{queries:,}", *scores)
    variance = (f"{told[side]['mean_rank_variance']:,.0f}" for side in shown)
    table.add_row("mean rank variance", "", *variance)
    return table


def _narrow(head: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(head, no_wrap=True)
    return table


def _span(interval: Mapping[str, Any] | None, form: str = ".3f") -> str:
    return ends(interval, form).replace(" to ", "…")


def comparison(console: Console, found: Comparison) -> None:
    """A policy beside today's: what is kept and by which rules the rest goes, then by group."""
    table = _counted("")
    table.add_row("kept", *_changed(*found.kept))
    for rule, counts in found.rejected.items():
        table.add_row(escape(f"rejected by {rule}"), *_changed(*counts))
    console.print(table)
    table = _counted(f"kept, by {found.by}", "of")
    most = sorted(found.groups.items(), key=lambda g: (-g[1][0], g[0] or ""))
    for name, (total, today, then) in most[:_MOST_GROUPS]:
        label = "none" if name is None else escape(name)
        table.add_row(label, f"{total:,}", *_changed(today, then))
    console.print(table)
    if len(most) > _MOST_GROUPS:
        console.print(f"... and {len(most) - _MOST_GROUPS:,} smaller ones", style="dim")
    console.print(f"of {found.total:,} samples; nothing was changed", style="dim")


_MOST_GROUPS = 30


def _counted(*heads: str) -> Table:
    table = Table(*heads, "today", "then", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _changed(today: int, then: int) -> tuple[str, str, str]:
    return f"{today:,}", f"{then:,}", f"{then - today:+,}"
