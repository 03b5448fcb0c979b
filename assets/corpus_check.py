"""`isotrope check`: all checks of a corpus, without Dagster."""

from collections.abc import Callable, Iterator

from assets import table_checks
from assets.table_checks import Result
from store.errors import IsotropeError
from store.tables import schema
from store.tables.check import DELETE_ROWS, REMAKE, Finding, check_files, check_releases
from store.tables.lance_tables import quote
from store.tables.names import kind_of
from store.tables.stage_records import forget_records, of_every_space
from store.tables.stages import EVERY_DROP, STAGES
from store.workspace import Workspace

TABLE_CHECKS: dict[str, tuple[Callable[[Workspace, str], Result], ...]] = {
    "samples": (table_checks.samples_conserved, table_checks.samples_unique),
    "signals": (table_checks.signals_conserved,),
    "vectors": (table_checks.vectors_sound,),
    "pairs": (table_checks.pairs_sound,),
    "duplicates": (table_checks.duplicates_sound,),
    "decisions": (table_checks.decisions_conserved,),
    "gallery": (table_checks.gallery_sound,),
    "release": (table_checks.release_does_no_harm,),
}
DEEP_CHECKS = {"gallery": (table_checks.gallery_compiles_again,)}
_ROWS = "rows have a record"


def check_corpus(workspace: Workspace, deep: bool = False) -> Iterator[Finding]:
    """Check the files of all tables, the rows of all recorded stages, and all kept releases.

    Args:
        workspace: the corpus.
        deep: also read every data file as a whole, and compile a sample of each gallery again.
    """
    tables = workspace.tables
    yield from check_files(tables, deep)
    try:
        records = tables.scan("stages", schema.STAGES, ["stage", "drop"]).to_pylist()
        yield from _rows_without_record(workspace, records)
    except IsotropeError as error:
        yield Finding("records", "stages", problem=str(error), remedy="mend the table first")
        return
    for stage in STAGES:
        for space in workspace.spaces() if STAGES[stage].by_space else [workspace]:
            name = space.name_of(stage)
            for drop in sorted(row["drop"] for row in records if row["stage"] == name):
                checks = TABLE_CHECKS.get(stage, ()) + (DEEP_CHECKS.get(stage, ()) if deep else ())
                for check in checks:
                    yield _finding(space, check, name, drop)
    yield from check_releases(tables, deep)


def mark_stale(workspace: Workspace, findings: list[Finding]) -> list[str]:
    """Delete the records of stages whose checks failed, so that the next run makes them again.

    Returns:
        The stages.
    """
    failed = {
        (kind_of(finding.table), finding.drop)
        for finding in findings
        if finding.remedy in (REMAKE, DELETE_ROWS)
    }
    for stage, drop in failed:
        of_drop = f" AND drop = {quote(drop)}" if drop else ""
        forget_records(workspace.tables, f"({of_every_space([stage])}){of_drop}")
    return sorted({stage for stage, _ in failed})


def _finding(
    workspace: Workspace, check: Callable[[Workspace, str], Result], stage: str, drop: str
) -> Finding:
    name, of_drop = check.__name__.replace("_", " "), None if drop == EVERY_DROP else drop
    try:
        _, problems = check(workspace, drop)
    except (IsotropeError, ValueError) as error:
        problems = [str(error)]
    problem = "; ".join(problems)
    remedy = DELETE_ROWS if kind_of(stage) == "vectors" else REMAKE
    return Finding(name, stage, of_drop, problem, remedy if problem else "")


def _rows_without_record(workspace: Workspace, records: list[dict[str, str]]) -> Iterator[Finding]:
    """Rows of a drop whose stage has no record are of a publication that was interrupted."""
    recorded = {(row["stage"], row["drop"]) for row in records}
    for stage, columns in (("samples", schema.SAMPLES), ("signals", schema.SIGNALS)):
        drops = set(workspace.tables.scan(stage, columns, ["drop"])["drop"].unique().to_pylist())
        unrecorded = sorted(drop for drop in drops if (stage, drop) not in recorded)
        problem = f"no record of: {', '.join(unrecorded)}" if unrecorded else ""
        remedy = "`isotrope run` makes the stage again" if problem else ""
        yield Finding(_ROWS, stage, problem=problem, remedy=remedy)
