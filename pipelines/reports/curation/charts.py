"""The signals as the explorer draws them: histograms, bars of text values, samples at both ends."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import duckdb
import numpy as np

from pipelines.engine.duckdb_scratch import execute, load_table, query_rows, temporary_database
from pipelines.reports.curation.answers import Bar, Bars, Example, Histogram
from pipelines.reports.curation.column_statistics import Numbers, SampleRef, Words, tally
from pipelines.reports.curation.columns import Column, by_table, columns
from pipelines.reports.curation.signal_sections import signal
from pipelines.reports.curation.thresholds import Limit, limits
from store.tables import schema
from store.tables.lance_tables import one_of
from store.workspace import Workspace

_EXAMPLES = 4  # at each end
_ENDS = """
SELECT drop, id, {name}::DOUBLE AS value FROM kept_rows
WHERE isfinite({name}::DOUBLE) ORDER BY value {order}, drop, id LIMIT {most}
"""
Row = dict[str, Any]
_Ends = dict[str, tuple[list[Example], list[Example]]]  # lowest and highest, by column


def charts(
    workspace: Workspace, decided: Iterable[tuple[str, str | None]]
) -> tuple[list[Histogram], list[Bars]]:
    """Histograms of the numeric signals that have values, and bars of the others.

    The tables of signals are read three times.

    Args:
        workspace: the corpus.
        decided: (rule, threshold) pairs of its decisions.
    """
    measured = columns(workspace)
    rules = workspace.config.policy.rules
    # What the policy keeps can then be counted from the bins.
    cuts = {name: _cuts(rule.min, rule.max) for name, rule in rules.items()}
    total, _ = tally(workspace, measured, {}, cuts=cuts)
    limited = limits(decided, workspace, [column.name for column in measured])
    varying = [
        column
        for column in measured
        if isinstance(numbers := total.get(column.name), Numbers) and numbers.low < numbers.high
    ]
    ends = _kept_ends(workspace, varying)
    histograms, bars = [], []
    for column in measured:
        name, tallied = column.name, total.get(column.name)
        if isinstance(tallied, Words) and tallied.valid:
            bars.append(_bars(column, tallied, limited.get(name, [])))
        elif isinstance(tallied, Numbers) and tallied.valid:
            made = Histogram(
                name,
                tallied.rows,
                tallied.valid,
                tallied.edges.tolist(),
                tallied.counts.tolist(),
                rules[name].min if name in rules else None,
                rules[name].max if name in rules else None,
                *ends.get(name, ([], [])),
            )
            histograms.append(made)
    return histograms, bars


def _cuts(least: float | None, most: float | None) -> list[float]:
    """Where bins begin, so that the values from `least` to `most` fill whole bins."""
    after = None if most is None else np.nextafter(most, np.inf)
    return [cut for cut in (least, after) if cut is not None]


def _bars(column: Column, words: Words, limited: Sequence[Limit]) -> Bars:
    drawn = signal(column, words, words.rows, limited)
    values = [Bar(value, count, rejected) for value, count, _, rejected in drawn.names]
    return Bars(column.name, words.rows, words.valid, values, drawn.more_names)


def _kept_ends(workspace: Workspace, varying: Sequence[Column]) -> _Ends:
    """The samples with the least and the greatest values, of those that the decisions keep."""
    rows: dict[str, tuple[list[Row], list[Row]]] = {}
    with temporary_database() as connection:
        load_table(connection, workspace, "decisions", schema.DECISIONS, ["drop", "id", "keep"])
        for table, group in by_table(varying).items():
            names = [column.name for column in group]
            of_table = schema.SIGNALS if table == "signals" else schema.PAIRS
            load_table(connection, workspace, table, of_table, ["drop", "id", *names])
            kept = f"FROM {table} SEMI JOIN (FROM decisions WHERE keep) USING (drop, id)"
            execute(connection, f"CREATE OR REPLACE TABLE kept_rows AS {kept}")
            for name in names:
                rows[name] = _end(connection, name, "ASC"), _end(connection, name, "DESC")
    samples = _samples(workspace, {r["id"] for both in rows.values() for r in chain(*both)})
    return {
        name: (_examples(lowest, samples), _examples(highest, samples))
        for name, (lowest, highest) in rows.items()
    }


def _end(connection: duckdb.DuckDBPyConnection, name: str, order: str) -> list[Row]:
    return query_rows(connection, _ENDS.format(name=name, order=order, most=_EXAMPLES))


def _samples(workspace: Workspace, ids: set[str]) -> dict[SampleRef, Row]:
    """Keys of samples and the ids of their pictures, by drop and id."""
    names = ["drop", "id", "key", "image_id"]
    rows = workspace.tables.scan("samples", schema.SAMPLES, names, one_of("id", sorted(ids)))
    return {(row["drop"], row["id"]): row for row in rows.to_pylist()}


def _examples(rows: Sequence[Row], samples: dict[SampleRef, Row]) -> list[Example]:
    """Rows as examples, without those whose sample has been taken down meanwhile."""
    return [
        Example(row["id"], sample["key"], sample["image_id"], row["value"])
        for row in rows
        if (sample := samples.get((row["drop"], row["id"])))
    ]
