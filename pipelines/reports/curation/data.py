"""Reads everything that the curation page shows, except the samples on its cards."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.engine.duckdb_scratch import load_table, temporary_database
from pipelines.reports.curation import duplicates, exclusion, repairs
from pipelines.reports.curation.column_statistics import ByColumn, tally
from pipelines.reports.curation.columns import Column, columns
from pipelines.reports.curation.thresholds import Limit, limits
from pipelines.reports.outcomes import Outcomes, query_outcomes
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.errors import InputError, NotFoundError
from store.tables import schema
from store.tables.staging import stage_record
from store.workspace import Workspace


@dataclass(frozen=True)
class PageData:
    """What the pages of a corpus show.

    Attributes:
        drops: names of the drops that were read or decided.
        outcomes: what became of the records.
        counts: samples by group and rule.
        duplicates: kinds and clusters of duplicates by drop; None stands for all drops.
        repairs: proposed captions, likewise.
        columns: the measurements that the corpus has.
        limits: the policy's limits by column.
        total: statistics of the columns over all drops.
        by_drop: statistics of the columns by drop.
        is_stale: the decisions are not those of the present tables and corpus.yaml.
    """

    drops: list[str]
    outcomes: Outcomes
    counts: list[exclusion.Count]
    duplicates: dict[str | None, tuple[list[duplicates.Kind], list[duplicates.Cluster]]]
    repairs: dict[str | None, repairs.Repairs]
    columns: list[Column]
    limits: dict[str, list[Limit]]
    total: ByColumn
    by_drop: dict[str, ByColumn]
    is_stale: bool


def read_page_data(workspace: Workspace, by: Sequence[str], drop: str | None = None) -> PageData:
    """Read the data of all pages, or of the page of one drop.

    Args:
        workspace: the corpus.
        by: columns that define groups: `drop`, `source`, or text columns of `signals`.
        drop: restricts everything to this drop.

    Raises:
        InputError: a column of `by` cannot define groups.
    """
    allowed = ["drop", "source", *(n for n, t in schema.SIGNAL_TYPES.items() if schema.is_text(t))]
    if wrong := [name for name in by if name not in allowed]:
        raise InputError(f"groups by {wrong[0]!r}: allowed are {', '.join(allowed)}")
    with temporary_database() as connection:
        outcomes = query_outcomes(connection, workspace, drop)
        # All drops: the representative of a duplicate may be in another drop.
        names = schema.DUPLICATES.names
        load_table(connection, workspace, "duplicates", schema.DUPLICATES, names)
        load_table(connection, workspace, "samples", schema.SAMPLES, ["drop", "id", "source"], drop)
        signals = [n for n in by if n not in ("drop", "source")]
        load_table(connection, workspace, "signals", schema.SIGNALS, ["drop", "id", *signals], drop)
        counts = exclusion.counts(connection, by)
        drops = sorted({*outcomes.drops, *(c.drop for c in counts)})
        scopes = [drop] if drop is not None else [None, *drops]
        copies = {
            scope: (duplicates.kinds(connection, scope), duplicates.clusters(connection, scope))
            for scope in scopes
        }
        repairs.load(connection, workspace, drop)
        proposals = {scope: repairs.repairs(connection, workspace, scope) for scope in scopes}
    measured = columns(workspace)
    limits_by_column = limits(outcomes.thresholds, workspace, [c.name for c in measured])
    total, by_drop = tally(workspace, measured, limits_by_column, drop)
    stale = _is_stale(workspace)
    return PageData(
        drops,
        outcomes,
        counts,
        copies,
        proposals,
        measured,
        limits_by_column,
        total,
        by_drop,
        stale,
    )


def _is_stale(workspace: Workspace) -> bool:
    done = stage_record(workspace.tables, "decisions")
    try:
        return done is not None and done["run_key"] != run_keys.decisions(StageContext(workspace))
    except NotFoundError:
        return True
