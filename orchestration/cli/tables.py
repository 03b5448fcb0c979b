"""Tables that the commands print to the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console
from pipelines.reports.measures import (
    GEOMETRY,
    MEASURES,
    ends,
    measures_of,
    plain,
    searched,
    sides,
)
from store.tables.stages import EVERY_DROP

if TYPE_CHECKING:  # slow to import, and each command needs few of them
    from pipelines.policy.cascade_cost import CascadeCost
    from pipelines.policy.whatif import Comparison
    from pipelines.sources.drops import Drop
    from store.lineage import Event
    from store.tables.drift import Drift
    from store.tables.lance_tables import Tables
    from store.tables.releases import Release

_MOST_LOST = 5
_MOST_DROPS = 10  # with more, the table of stages has sums over all drops
_MOST_GROUPS = 30
_MAIN_MEASURES = ("r@1", "r@10", "mrr", "median_rank", "k_skewness")


def print_delivered(counts: Mapping["Drop", int]) -> None:
    """Print the records of each drop of a new corpus; of many drops, those of the first ones."""
    table = Table("drop")
    table.add_column("records", justify="right")
    for drop, count in islice(counts.items(), _MOST_DROPS):
        table.add_row(escape(drop.name), f"{count:,}")
    if len(counts) > 1:
        table.add_row(f"all {len(counts):,} drops", f"{sum(counts.values()):,}", style="bold")
    console.print(table)


def print_step(stage: str, drop: str | None) -> None:
    """Print which stage begins; a callback of `run_missing`."""
    console.print(f"  {stage}" + (f" of {escape(drop)}" if drop else ""))


def print_funnel(tables: "Tables") -> None:
    """Print the counts of every stage, and some of the records that were lost."""
    # DuckDB takes 0.2 s to import, and most commands do without it.
    from pipelines.reports.outcomes import COUNTS, read_lost, read_stages, total_counts

    table = Table("stage", "drop", title="records of each stage", title_justify="left")
    for name in ("in", "kept", "rejected", "failed", "seconds"):
        table.add_column(name, justify="right")
    for stage, group in groupby(read_stages(tables), key=lambda counts: counts.stage):
        rows = list(group)
        names = ["all" if row.drop == EVERY_DROP else escape(row.drop) for row in rows]
        if len(rows) > _MOST_DROPS:  # one row for all of them
            rows, names = [total_counts(rows)], [f"{len(rows):,} drops"]
        for row, name in zip(rows, names, strict=True):
            numbers = [f"{getattr(row, count):,}" for count in COUNTS]
            table.add_row(stage, name, *numbers, f"{row.seconds:.1f}")
    console.print(table)
    lost, total = read_lost(tables, _MOST_LOST)
    for record in lost:
        detail = record["error"] or record["value"] or ""
        line = f"{record['outcome']}: {record['key']} ({record['rule']}: {detail})"
        console.print(escape(line), style="dim")
    if total > len(lost):
        console.print(f"... and {total - len(lost)} more in the table `ledger`", style="dim")


def print_events(events: Iterable["Event"]) -> None:
    """Print what happened to a record, stage by stage."""
    table = Table("drop", "key", "stage", "outcome", "detail")
    for event in events:
        cells = (event.drop, event.key, event.stage, event.outcome, event.detail)
        table.add_row(*map(escape, cells))
    console.print(table)


def print_drift(measured: Sequence["Drift"]) -> None:
    """Print k-occurrence skewness of the release's own and of fresh queries, by direction."""
    from store.tables.drift import DRIFT_HEADERS, drift_cells

    title = "k-occurrence skewness: the release's own queries, fresh queries, the difference"
    table = Table(*DRIFT_HEADERS, title=title, title_justify="left", pad_edge=False)
    for one in measured:
        table.add_row(*(_cell(value) for value in drift_cells(one)))
    console.print(table)
    for one in measured:
        console.print(f"{one.direction}: {one.note}", style="dim")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def print_gains(release: "Release") -> None:
    """Print the main measures of all directions, raw and corrected, in one table."""
    title = f"release {release.number}: test pairs, against the items that are not in the bank"
    table = Table("direction", "scores", title=title, title_justify="left", pad_edge=False)
    measures = [m for m in MEASURES if m.key in _MAIN_MEASURES]
    for measure in measures:
        table.add_column(measure.short, justify="right")
    for name, figures in release.evaluation.items():
        if "raw" not in figures:
            continue
        for side in sides(figures, figures["method"]):
            values = [plain(figures[side][m.key], m.decimal) for m in measures]
            label = figures["method"] if side == "corrected" else "raw"
            table.add_row(name if side == "raw" else "", label, *values)
    console.print(table)
    console.print("all measures, intervals and languages: isotrope evaluate", style="dim")


def print_evaluation(release: "Release", evaluation: Mapping[str, Any]) -> None:
    """Print all measures, raw and corrected side by side, by direction, with 95% intervals."""
    console.print(f"release {release.number}: test pairs, against items that are not in the bank")
    if not evaluation:
        console.print("no direction is corrected, so there is nothing to fit on the test queries")
    for name, direction in release.directions.items():
        figures = evaluation.get(name)
        if figures is None:
            continue
        console.print()
        if "raw" not in figures:
            console.print(f"{name}: no test pairs")
            continue
        protocol = figures.get("protocol", "inductive")
        counts = f"{figures['queries']:,} queries, {searched(figures)}"
        title = f"{name} by {direction.method}, {protocol}: {counts}"
        console.print(escape(title), style="bold")
        console.print(_measures_table(figures, direction.method))
        values = [f"{GEOMETRY[g]} {figures[g]:.3f}" for g in GEOMETRY if g in figures]
        if "similarities" in figures:
            compared = sides(figures, direction.method)
            aucs = (f"{figures['similarities'][side]['auc']:.3f} {side}" for side in compared)
            values.append(f"AUC {' and '.join(aucs)}")
        for line in (", ".join(values), figures.get("reason")):
            if line:
                console.print(escape(line), style="dim")
        if "languages" in figures:
            console.print("the same texts in other languages")
            console.print(_languages_table(figures["languages"], direction.method))
        if "words" in figures:
            console.print(escape(words_line(figures["words"])), style="dim")
    _print_indexes(release)


def words_line(figures: Mapping[str, Any]) -> str:
    """The figures of the words of items (`pipelines.release.item_words`) in words."""
    recall = figures["recall"]
    return (
        f"words of items: {figures['count']} of {figures['vocabulary']:,}, {figures['reason']};"
        f" test pairs {figures['test']['vectors']:.3f} by vectors, {figures['test']['fused']:.3f}"
        f" with words; recall of words {recall['corrected']['mean']:.3f} corrected,"
        f" {recall['raw']['mean']:.3f} raw, {recall['frequent']['mean']:.3f} of the most frequent"
    )


def _print_indexes(release: "Release") -> None:
    """Print how the galleries are indexed, and the recall and time of a search by direction."""
    for modality, index in release.indexes.items():
        console.print()
        size = f"{index.bytes / 1e6:.1f} MB, built in {index.seconds:.1f} s"
        about = size if index.type != "flat" else "every search scans all rows and is exact"
        console.print(f"{modality} index: {index.type}, {index.rows:,} rows, {about}", style="bold")
        if index.probes:
            table = _compact_table("direction")
            for head in ("rows of a result", "probes", "refine", "recall", "ms"):
                table.add_column(head, justify="right")
            for name, probes in index.probes.items():
                for p in probes:
                    cells = f"{p.depth}", f"{p.nprobes}", f"{p.refine}"
                    table.add_row(name, *cells, f"{p.recall:.4f}", f"{p.milliseconds:.1f}")
            console.print(table)
            console.print(f"an exact scan takes {index.flat_milliseconds:.1f} ms", style="dim")
        for note in index.notes:
            console.print(escape(note), style="dim")


def _measures_table(figures: Mapping[str, Any], method: str) -> Table:
    """One direction's measures: values, intervals, and the gain of the correction."""
    compared = sides(figures, method)
    table = _compact_table("")
    for head in [*compared, *(["gain"] if len(compared) > 1 else [])]:
        table.add_column(head, justify="right")
        table.add_column("95%", justify="right", style="dim", no_wrap=True)
    for measure in measures_of(figures):
        cells = []
        for side in compared:
            interval = figures.get("intervals", {}).get(side, {}).get(measure.key)
            cells += [plain(figures[side][measure.key], measure.decimal), _interval(interval)]
        if len(compared) > 1:
            gain = figures.get("gains", {}).get(measure.key)
            cells += [plain(gain["mean"], "+.3f"), _interval(gain, "+.3f")] if gain else ["", ""]
        table.add_row(measure.short, *cells)
    return table


def _languages_table(languages: Mapping[str, Any], method: str) -> Table:
    """R@10 of the same texts in several languages."""
    compared = sides(languages, method)
    table = _compact_table("language")
    table.add_column("texts", justify="right")
    for side in compared:
        table.add_column(f"R@10, {side}", justify="right")
    for code, queries in languages["queries"].items():
        recalls = (f"{languages[side]['r@10'][code]:.3f}" for side in compared)
        table.add_row(escape(code), f"{queries:,}", *recalls)
    variances = (f"{languages[side]['mean_rank_variance']:,.0f}" for side in compared)
    table.add_row("mean rank variance", "", *variances)
    return table


def _compact_table(head: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(head, no_wrap=True)
    return table


def _interval(interval: Mapping[str, Any] | None, form: str = ".3f") -> str:
    return ends(interval, form).replace(" to ", "…")


def print_comparison(comparison: "Comparison") -> None:
    """Print another policy beside the present one: samples kept, by rule, and by group."""
    table = _comparison_table("")
    table.add_row("kept", *_change(*comparison.kept))
    if any(comparison.repaired):
        table.add_row("of these with another caption", *_change(*comparison.repaired))
    for rule, counts in comparison.rejected.items():
        table.add_row(escape(f"rejected by {rule}"), *_change(*counts))
    console.print(table)
    table = _comparison_table(f"kept, by {comparison.by}", "of")
    groups = sorted(comparison.groups.items(), key=lambda g: (-g[1][0], g[0] or ""))
    for name, (total, today, then) in groups[:_MOST_GROUPS]:
        label = "none" if name is None else escape(name)
        table.add_row(label, f"{total:,}", *_change(today, then))
    console.print(table)
    if len(groups) > _MOST_GROUPS:
        console.print(f"... and {len(groups) - _MOST_GROUPS:,} smaller groups", style="dim")
    if comparison.concepts:
        table = _comparison_table("matches of concepts", "of")
        for name, (total, today, then) in comparison.concepts.items():
            table.add_row(escape(name), f"{total:,}", *_change(today, then))
        console.print(table)
    if comparison.figures:
        table = _comparison_table("figures")
        for name, (before, after) in comparison.figures.items():
            change = None if before is None or after is None else after - before
            table.add_row(escape(name), plain(before), plain(after), plain(change, "+.3f"))
        console.print(table)
    if comparison.cascade:
        console.print(_cascade_table(comparison.cascade))
    console.print(f"{comparison.total:,} samples in all; nothing was changed", style="dim")


def _cascade_table(costs: "dict[str, CascadeCost]") -> Table:
    """What the scorers of a cascade measure, skip, save and lose."""
    heads = ("of", "measured", "to measure", "a rule decides", "predicted", "saved", "loss")
    table = Table("cascade", *heads, "lost", "kept wrongly")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cost in costs.items():
        counts = (cost.samples, cost.measured, cost.to_measure, cost.by_rule)
        table.add_row(
            escape(name),
            *(f"{count:,}" for count in (*counts, cost.kept + cost.rejected)),
            "" if cost.saved is None else f"{cost.saved:,.1f} s",
            "" if cost.loss is None else f"{cost.loss:g}",
            *(f"{wrong:,} of {of:,}" if of else "" for wrong, of in (cost.lost, cost.kept_wrongly)),
        )
    return table


def _comparison_table(*heads: str) -> Table:
    table = Table(*heads, "today", "then", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _change(today: int, then: int) -> tuple[str, str, str]:
    return f"{today:,}", f"{then:,}", f"{then - today:+,}"
