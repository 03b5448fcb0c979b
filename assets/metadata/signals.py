"""Dagster metadata about signals: their values, the policy's limits, and excluded groups.

The page that the asset `curation` writes has all of it in more detail.
"""

from typing import Any

import dagster as dg
import numpy as np
import pyarrow.compute as pc

from assets.metadata.markdown import picture, table
from pipelines.engine.duckdb_scratch import load_table, temporary_database
from pipelines.reports.curation.column_statistics import Numbers, tally
from pipelines.reports.curation.columns import columns
from pipelines.reports.curation.exclusion import GROUPS, MOST, counts, groups
from pipelines.reports.curation.signal_sections import marks_of
from pipelines.reports.curation.thresholds import limits
from pipelines.reports.histograms import Panel, histograms
from store.tables import schema
from store.tables.names import pairs_table
from store.workspace import Workspace


def distributions(
    corpus: Workspace,
    drop: str | None = None,
    limited: bool = False,
    within: str | None = None,
) -> dict[str, Any]:
    """A table and histograms of the numeric signals.

    Args:
        corpus: the corpus.
        drop: only samples of this drop.
        limited: only signals that the policy limits.
        within: only signals of this table.
    """
    decisions = corpus.tables.scan("decisions", schema.DECISIONS, ["rule", "threshold"], "NOT keep")
    thresholds = decisions.group_by(["rule", "threshold"]).aggregate([]).to_pydict()
    measured = [c for c in columns(corpus) if not c.is_text and within in (None, c.table)]
    names = [c.name for c in measured]
    by_signal = limits(zip(*thresholds.values(), strict=True), corpus, names)
    measured = [c for c in measured if not limited or c.name in by_signal]
    totals, _ = tally(corpus, measured, by_signal, drop)
    rows, panels = [], []
    for name, numbers in totals.items():
        if not isinstance(numbers, Numbers) or not numbers.valid:
            continue
        of_policy = by_signal.get(name, ())
        texts = ", ".join(str(limit) for limit in of_policy)
        mean, missing = numbers.sum / numbers.valid, numbers.rows - numbers.valid
        outside = sum(numbers.beyond.values()) if of_policy else None
        rows.append((name, numbers.low, mean, numbers.high, missing, texts, outside))
        if numbers.low < numbers.high:
            panels.append(Panel(name, numbers.counts, numbers.edges, marks_of(of_policy)))
    if not rows:
        return {}
    heads = ("signal", "minimum", "mean", "maximum", "missing", "limits", "outside")
    metadata = {"signals": table(heads, rows)}
    if panels:
        png = histograms(sorted(panels, key=lambda panel: not panel.marks))
        metadata["histograms"] = picture(png, "histograms of the signals")
    return metadata


def excluded(corpus: Workspace) -> dict[str, dg.MarkdownMetadataValue]:
    """The share of each group that is kept, and the rule that rejects most of it."""
    with temporary_database() as connection:
        load_table(
            connection, corpus, "decisions", schema.DECISIONS, ["drop", "id", "keep", "rule"]
        )
        load_table(connection, corpus, "samples", schema.SAMPLES, ["drop", "id", "source"])
        names = [n for n in GROUPS if n in schema.SIGNAL_TYPES]
        load_table(connection, corpus, "signals", schema.SIGNALS, ["drop", "id", *names])
        exclusions = counts(connection, GROUPS)
    metadata = {}
    for by in GROUPS:
        rows = [
            (g.name, g.samples, g.kept, g.share, g.ratio, "far below" if g.below else "", g.rule)
            for g in groups(exclusions, by)[:MOST]
        ]
        if rows:
            heads = (by, "samples", "kept", "share kept", "to overall", "", "main rule")
            metadata[f"kept by {by}"] = table(heads, rows)
    return metadata


def pairs(corpus: Workspace) -> dict[str, Any]:
    """The values of every signal of pairs, and the sizes of the clusters."""
    name = pairs_table(corpus.config.space)
    metadata = {"space": corpus.config.space, **distributions(corpus, within=name)}
    columns = [n for n in schema.PAIR_TYPES if n.endswith("_cluster")]
    numbers = corpus.tables.scan(name, schema.PAIRS, columns)
    sizes = {n: np.bincount(pc.drop_null(numbers[n]).to_numpy()) for n in columns}
    rows = [(n, np.count_nonzero(s), int(s.max())) for n, s in sizes.items() if len(s)]
    if rows:
        heads = ("column", "clusters used", "samples in the largest")
        metadata["clusters"] = table(heads, rows)
    return metadata
