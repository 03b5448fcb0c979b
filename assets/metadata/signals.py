"""How signals are spread and who is excluded, as metadata for Dagster's page.

The whole of it is on the page that the asset `curation` writes.
"""

from typing import Any

import dagster as dg
import numpy as np
import pyarrow.compute as pc

from assets.metadata.markdown import picture, table
from pipelines.engine.duckdb_scratch import load, scratch
from pipelines.reports.curation.column_statistics import Numbers, tally
from pipelines.reports.curation.columns import columns
from pipelines.reports.curation.exclusion import GROUPS, MOST, counts, groups
from pipelines.reports.curation.signal_sections import marks_of
from pipelines.reports.curation.thresholds import limits
from pipelines.reports.histograms import Panel, histograms
from store.tables import schema
from store.tables.names import pairs_table
from store.workspace import Workspace


def spread(
    corpus: Workspace,
    drop: str | None = None,
    limited: bool = False,
    within: str | None = None,
) -> dict[str, Any]:
    """A table and a sheet of the histograms of signals that are numbers.

    Args:
        drop: of this one; None: of all.
        limited: only those that the policy has limits for.
        within: only those of this table.
    """
    thresholds = corpus.tables.scan(
        "decisions", schema.DECISIONS, ["rule", "threshold"], "NOT keep"
    )
    decided = thresholds.group_by(["rule", "threshold"]).aggregate([]).to_pydict()
    measured = [c for c in columns(corpus) if not c.is_text and within in (None, c.table)]
    named = [c.name for c in measured]
    cut = limits(zip(*decided.values(), strict=True), corpus, named)
    measured = [c for c in measured if not limited or c.name in cut]
    whole, _ = tally(corpus, measured, cut, drop)
    rows, panels = [], []
    for name, found in whole.items():
        if not isinstance(found, Numbers) or not found.valid:
            continue
        said = ", ".join(str(limit) for limit in cut.get(name, ()))
        mean, missing = found.sum / found.valid, found.rows - found.valid
        outside = sum(found.beyond.values()) if said else None
        rows.append((name, found.low, mean, found.high, missing, said, outside))
        if found.low < found.high:
            panels.append(Panel(name, found.counts, found.edges, marks_of(cut.get(name, ()))))
    if not rows:
        return {}
    heads = ("signal", "least", "mean", "most", "without a value", "limits", "outside")
    shown = {"spread": table(heads, rows)}
    if panels:
        sheet = histograms(sorted(panels, key=lambda p: not p.marks))
        shown["picture, spread"] = picture(sheet, "spread of signals")
    return shown


def excluded(corpus: Workspace) -> dict[str, dg.MarkdownMetadataValue]:
    """The groups of each kind: how many of their samples are kept, and what takes the others."""
    with scratch() as connection:
        load(connection, corpus, "decisions", schema.DECISIONS, ["drop", "id", "keep", "rule"])
        load(connection, corpus, "samples", schema.SAMPLES, ["drop", "id", "source"])
        named = [n for n in GROUPS if n in schema.SIGNAL_TYPES]
        load(connection, corpus, "signals", schema.SIGNALS, ["drop", "id", *named])
        found = counts(connection, GROUPS)
    shown = {}
    for by in GROUPS:
        rows = [
            (g.name, g.samples, g.kept, g.share, g.ratio, "far below" if g.below else "", g.rule)
            for g in groups(found, by)[:MOST]
        ]
        if rows:
            heads = (by, "samples", "kept", "share", "of all's", "", "costliest rule")
            shown[f"kept by {by}"] = table(heads, rows)
    return shown


def show(corpus: Workspace) -> dict[str, Any]:
    """The spread of every signal that there is; how many samples the largest clusters hold."""
    name = pairs_table(corpus.config.space)
    shown = {"space": corpus.config.space, **spread(corpus, within=name)}
    numbered = [n for n in schema.PAIR_TYPES if n.endswith("_cluster")]
    found = corpus.tables.scan(name, schema.PAIRS, numbered)
    sizes = {n: np.bincount(pc.drop_null(found[n]).to_numpy()) for n in numbered}
    rows = [(n, np.count_nonzero(s), int(s.max())) for n, s in sizes.items() if len(s)]
    if rows:
        shown["clusters"] = table(("clusters", "used", "samples of the largest"), rows)
    return shown
