"""`isotrope repair`: damaged tables go back to sound versions, and what is stale is marked.

A stage whose table lost rows loses its record, so that `isotrope run` makes it again. What remains
is reused: signals and vectors are measured only where they are missing.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from pipelines.samples.digest import digest_of_drop
from pipelines.stages import staleness
from store.errors import IsotropeError
from store.tables import checksums, maintain, releases, repair, schema, staging, takedowns
from store.tables.check import check_sizes
from store.tables.lance_tables import Tables
from store.tables.lost_tables import all_names
from store.tables.names import kind_of
from store.tables.stage_records import forget_records, of_every_space, of_stage
from store.tables.stages import GLOBAL, STAGES
from store.tables.table_files import files_of_version
from store.workspace import Workspace

# Tables that hold what no run can make again.
KEPT = ("query_log", "drift", "projections", "releases", takedowns.TABLE)
# The table of comparisons and that of their results must agree, so both are emptied.
_COMPARISONS = ("compared", "near_pairs")
_STAGE_OF = {
    "features": "vectors",
    "tokens": "vectors",
    "moment_vectors": "vectors",
    "moments": "gallery",
    "directions": "gallery",
    "indexes": "index",
}
_STAGE_OF |= {"releases": "release", "tallies": "release", "pair_draws": "pairs"}
_STAGE_OF |= {"concepts": "decisions"}
_STAGE_OF |= dict.fromkeys((*_COMPARISONS, "minhashes"), "duplicates")


@dataclass
class Repaired:
    """What was done, or would be done.

    Attributes:
        tables: the damaged tables.
        refused: why a table was not repaired, by name.
        stale: the stages that `isotrope run` makes again.
        lost: what cannot be made again.
    """

    tables: list[repair.Prognosis] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def repair_corpus(workspace: Workspace, yes: bool = False) -> Repaired:
    """Repair all damaged tables.

    Args:
        workspace: the corpus.
        yes: also give up what no run can make again: rows of some tables, and the records of
            releases whose tables were damaged.

    Raises:
        BusyError: a stage is running, or a takedown was interrupted.
    """
    tables, done = workspace.tables, Repaired()
    takedowns.check_none_pending(tables)
    with ExitStack() as stack:
        stack.enter_context(tables.lock(maintain.LOCK))
        for folder in tables.files.folders(staging.ROOT):
            stack.enter_context(tables.lock(f"run-{folder}"))
        mended = set()
        recorded = all_names(tables)
        changed = {name: checksums.changed_files(tables, name) for name in recorded}
        for prognosis in _prognoses(tables, recorded, changed):
            done.tables.append(prognosis)
            if not yes and (reason := _loss(workspace, prognosis)):
                done.refused[prognosis.table] = reason
                continue
            repair.mend(tables, prognosis)
            mended.add(prognosis.table)
        if mended & set(_COMPARISONS):
            for name in filter(tables.exists, _COMPARISONS):
                with tables.lock(name):
                    tables.open(name).delete("true")
        if mended and "stages" not in done.refused:
            done.stale = _mark_stale(workspace, mended, done.lost)
        for name in mended & set(tables.names()):
            checksums.record(tables, name)
        if "releases" not in done.refused and (broken := _broken(tables, changed)):
            done.lost += [f"release {each}: its tables were damaged" for each in broken]
            if yes:
                newest = {each.space: each.number for each in releases.list_releases(tables)}
                releases.forget(tables, broken)
                if set(newest.values()) & set(broken) and "stages" not in done.refused:
                    forget_records(tables, of_every_space(["release"]))
                    done.stale = [*(s for s in done.stale if s != "release"), "release"]
        tags = None if "releases" in done.refused else releases.recorded_tags(tables)
        for name in tables.names() if mended else ():
            if name in mended:  # files were moved, and names of files were used again
                changed[name] = checksums.changed_files(tables, name)
            if name not in done.refused:
                lost = [] if tags is None else releases.tags_without_record(tables, name, tags)
                repair.set_old_versions_aside(tables, name, changed[name], lost)
    return done


def _prognoses(
    tables: Tables, recorded: Mapping[str, int], changed: Mapping[str, list[str]]
) -> Iterator[repair.Prognosis]:
    for name, version in recorded.items():
        if (prognosis := repair.examine(tables, name, version, changed[name])) is not None:
            yield prognosis


def _loss(workspace: Workspace, prognosis: repair.Prognosis) -> str:
    """What a repair would lose for good; empty if a run can make it again."""
    kind = kind_of(prognosis.table)
    if kind in KEPT and prognosis.way != "went back":
        return "no version of it is sound, and no run can make its rows again"
    if kind == "samples" and prognosis.way != "went back":
        try:
            delivered = set(staleness.drops(workspace))
            gone = set(staleness.drops_with_samples(workspace)) - delivered
        except IsotropeError as error:
            return f"whether its drops are still delivered is not known: {error}"
        if gone:
            return f"drops that are not delivered any more may lose samples: {', '.join(gone)}"
    return ""


def _mark_stale(workspace: Workspace, mended: set[str], lost: list[str]) -> list[str]:
    """Delete the records of stages whose rows may be others than before; return the stages."""
    tables = workspace.tables
    kinds = {kind_of(name) for name in mended}
    stages = {_STAGE_OF.get(kind, kind) for kind in kinds} & set(STAGES)
    if kinds & {"stages", "ledger"}:
        # Records may be older than the rows. These stages find out at low cost what is missing.
        stages |= {*GLOBAL, "signals", "vectors"}
    if kinds & {"samples", "stages", "ledger"}:
        stages.discard("samples")
        stages |= {"samples"} if _forget_wrong_samples(workspace, lost) else set()
    if others := stages - {"samples"}:
        forget_records(tables, of_every_space(others))
    return [stage for stage in STAGES if stage in stages]


def _forget_wrong_samples(workspace: Workspace, lost: list[str]) -> bool:
    """Delete the records of drops whose samples are not those that were recorded."""
    tables, forgotten = workspace.tables, False
    delivered = set(staleness.drops(workspace))
    records = tables.scan("stages", schema.STAGES, where="stage = 'samples'").to_pylist()
    for record in records:
        drop, count = record["drop"], record["rejected"] + record["failed"]
        has_samples = digest_of_drop(tables, drop) == record["output"]
        if has_samples and _entries(tables, drop) == count:
            continue
        if drop not in delivered:
            lost.append(f"samples or ledger of drop {drop!r}, which is not delivered")
            continue
        forget_records(tables, of_stage("samples", drop))
        forgotten = True
    return forgotten


def _entries(tables: Tables, drop: str) -> int:
    where = f"{of_stage('samples', drop)} AND outcome IN ('rejected', 'failed')"
    return int(tables.open("ledger").count_rows(where)) if tables.exists("ledger") else 0


def _broken(tables: Tables, changed: Mapping[str, list[str]]) -> list[int]:
    """Kept releases of which a table cannot be opened, lacks a file, or has a file that changed."""
    broken = []
    for release in releases.kept_releases(tables):
        try:
            for name, version in release.versions.items():
                dataset = tables.open(name, release.tag)
                check_sizes(tables, name, dataset)
                files = set(files_of_version(tables, name, dataset))
                if dataset.version != version or not files.isdisjoint(changed.get(name, ())):
                    broken.append(release.number)
        except IsotropeError:
            broken.append(release.number)
    return sorted(set(broken))
