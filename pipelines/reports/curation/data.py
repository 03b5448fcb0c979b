"""Everything that the page tells of a corpus but for the samples that it shows, read in one go."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.engine.duckdb_scratch import load, scratch
from pipelines.reports.curation import duplicates, exclusion, outcomes
from pipelines.reports.curation.column_statistics import ByColumn, tally
from pipelines.reports.curation.columns import Column, columns
from pipelines.reports.curation.thresholds import Limit, limits
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.errors import InputError, NotFoundError
from store.tables import schema
from store.tables.staging import record
from store.workspace import Workspace

_TABLES = {
    "stages": (schema.STAGES, ["drop", "stage", "input", "kept", "rejected", "failed"]),
    "ledger": (schema.LEDGER, [n for n in schema.LEDGER.names if n != "source"]),
    "duplicates": (schema.DUPLICATES, schema.DUPLICATES.names),
    "decisions": (schema.DECISIONS, [n for n in schema.DECISIONS.names if n != "policy"]),
}


@dataclass(frozen=True)
class Facts:
    """`by_drop` and `whole` are tallies of the columns, `copies` are kinds and clusters by drop,
    None standing for all; `stale` says that decisions are not those of today's corpus.yaml."""

    drops: list[str]
    fates: outcomes.Fates
    counts: list[exclusion.Count]
    copies: dict[str | None, tuple[list[duplicates.Kind], list[duplicates.Cluster]]]
    columns: list[Column]
    limits: dict[str, list[Limit]]
    whole: ByColumn
    by_drop: dict[str, ByColumn]
    stale: bool


def facts(workspace: Workspace, by: Sequence[str], drop: str | None = None) -> Facts:
    """Args:
        by: columns to tell groups by: `drop`, `source`, or text columns of `signals`.
        drop: look at this drop alone.

    Raises:
        InputError: groups cannot be told by a column of `by`.
    """
    allowed = ["drop", "source", *(n for n, t in schema.SIGNAL_TYPES.items() if schema.is_text(t))]
    if wrong := [name for name in by if name not in allowed]:
        raise InputError(f"groups by {wrong[0]!r}: allowed are {', '.join(allowed)}")
    with scratch() as connection:
        for name, (table_schema, names) in _TABLES.items():
            # Who stands for a lost sample may be of another drop.
            here = None if name == "duplicates" else drop
            load(connection, workspace, name, table_schema, names, here)
        load(connection, workspace, "samples", schema.SAMPLES, ["drop", "id", "source"], drop)
        named = [n for n in by if n not in ("drop", "source")]
        load(connection, workspace, "signals", schema.SIGNALS, ["drop", "id", *named], drop)
        fates = outcomes.fates(connection)
        counted = exclusion.counts(connection, by)
        drops = sorted({*fates.read, *fates.kept, *(c.drop for c in counted)})
        scopes = [drop] if drop is not None else [None, *drops]
        found = {
            s: (duplicates.kinds(connection, s), duplicates.clusters(connection, s)) for s in scopes
        }
    measured = columns(workspace)
    names = [c.name for c in measured]
    cut = limits(fates.thresholds, workspace, names)
    whole, by_drop = tally(workspace, measured, cut, drop)
    return Facts(drops, fates, counted, found, measured, cut, whole, by_drop, _stale(workspace))


def _stale(workspace: Workspace) -> bool:
    done = record(workspace.tables, "decisions")
    try:
        return done is not None and done["run_key"] != run_keys.decisions(StageContext(workspace))
    except NotFoundError:
        return True
