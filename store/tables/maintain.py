"""Maintenance of the tables: compaction, indexes of ids, old versions, stale staging.

It is safe beside runs and searches. A table is locked only for a commit and while old versions are
deleted. Versions are kept that have a tag, and those that a reader may have opened: every version
that was the newest one within a period before now (an hour by default), and since the start of the
oldest stage that is running.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import lance
from lance.optimize import Compaction

from store.errors import BusyError, NotFoundError
from store.tables import checksums, damage, schema, takedowns
from store.tables.id_index import index_ids
from store.tables.lance_tables import Tables
from store.tables.lost_tables import check_none_lost
from store.tables.publication import finish_undo
from store.tables.staging import ROOT, STARTED, drop_hash
from store.tables.written_files import check_written

OLDER_THAN = timedelta(hours=1)
STAGING_OLDER_THAN = timedelta(days=7)
RECORDS, MOST_FRAGMENTS = ("stages", "ledger"), 32
LOCK = "maintenance"  # held for the whole of it
_FRAGMENT_BYTES = 1 << 30
_FRAGMENT_ROWS = 1 << 20
_SCAN_BYTES = 16 << 20  # in a batch that compaction reads
_CHECKED_FILES = 16  # of a table, by their checksums
_CLEANUP_SECONDS = 600.0


@dataclass(frozen=True)
class Maintained:
    """What was done to one table.

    Attributes:
        table: its name.
        fragments: before and after.
        versions: before and after.
        bytes_freed: by the deletion of old versions.
        changed: files whose bytes differ from their checksums, of a sample of its files.
        note: why something was not done. Empty if all was done.
    """

    table: str
    fragments: tuple[int, int]
    versions: tuple[int, int]
    bytes_freed: int
    changed: tuple[str, ...] = ()
    note: str = ""


def maintain(tables: Tables, older_than: timedelta = OLDER_THAN) -> Iterator[Maintained]:
    """Compact every table, index its ids and delete the versions that nothing needs.

    Args:
        tables: of the corpus.
        older_than: keep every version that was the newest one within this period. Must be longer
            than the longest export or search of a release that is no longer kept.

    Raises:
        DamagedTableError: a table is lost, or cannot be read.
    """
    takedowns.check_none_pending(tables)
    with tables.lock(LOCK):
        yield from _maintain(tables, older_than)


def _maintain(tables: Tables, older_than: timedelta) -> Iterator[Maintained]:
    check_none_lost(tables)  # compaction would give the number of a lost version again
    since = min([datetime.now(UTC) - older_than, *_starts_of_active_runs(tables)])
    for name in tables.names():
        before = tables.open(name)
        fragments, versions = len(before.get_fragments()), len(before.versions())
        note = "" if compact(tables, name) else "other writers changed it during compaction"
        index_ids(tables, name)
        freed = _delete_old_versions(tables, name, since)
        checksums.record(tables, name)
        checksums.forget_deleted(tables, name)
        after = tables.open(name)
        yield Maintained(
            name,
            (fragments, len(after.get_fragments())),
            (versions, len(after.versions())),
            freed,
            tuple(checksums.changed_files(tables, name, most=_CHECKED_FILES)),
            note,
        )


def compact(tables: Tables, name: str) -> bool:
    """Merge small fragments of a table, and rewrite those with many deleted rows.

    Rows are rewritten without a lock. If a writer changed the same fragments meanwhile, the result
    is discarded and nothing changes.

    Returns:
        Whether the table is compact.
    """
    if not tables.is_local:  # rows of an overtaken writer cannot be identified after compaction
        with tables.lock(name):
            finish_undo(tables.open(name), tables.storage_options)
    dataset = tables.open(name)
    options = _options(dataset)
    with damage.detected(dataset.uri, dataset.version):
        plan = Compaction.plan(dataset, options)
        _check_bytes(tables, name, dataset, plan)
        rewrites = [task.execute(dataset) for task in plan.tasks]
    if not rewrites:
        return True
    for rewrite in rewrites:
        check_written(dataset.uri, rewrite.new_fragments)
    with tables.lock(name):
        try:
            Compaction.commit(dataset, rewrites, options)
        except (OSError, ValueError, RuntimeError) as error:
            if "onflict" not in str(error):
                raise
            return False
    return True


def compact_records(tables: Tables) -> None:
    """Compact the tables that every stage of every drop adds a few rows to, if they have many
    fragments. Without this, the cost of a commit grows with the number of drops."""
    for name in RECORDS:
        with suppress(NotFoundError):
            if len(tables.open(name).get_fragments()) > MOST_FRAGMENTS:
                compact(tables, name)


def _check_bytes(tables: Tables, name: str, dataset: lance.LanceDataset, plan: Any) -> None:
    """Compare the files that would be compacted with their checksums: new files get new ones."""
    paths = {
        f"data/{file.path}"
        for task in plan.tasks
        for fragment in task.fragments
        for file in fragment.files
    }
    if changed := checksums.changed_files(tables, name, paths):
        raise damage.damaged(dataset.uri, dataset.version, f"bytes of {changed[0]} have changed")


def remove_stale_staging(tables: Tables) -> list[str]:
    """Delete staging that no run will use.

    That is staging whose stage was published (the process died before it deleted it), and staging
    that no run opened for `STAGING_OLDER_THAN`. Staging of a running stage is never deleted.

    Returns:
        The names of the folders.
    """
    rows = tables.scan("stages", schema.STAGES, ["stage", "drop", "run_key"]).to_pylist()
    published = {f"{row['stage']}-{drop_hash(row['drop'])}": row["run_key"] for row in rows}
    oldest = datetime.now(UTC) - STAGING_OLDER_THAN
    removed = []
    for name in tables.files.folders(ROOT):
        folder = f"{ROOT}/{name}"
        try:
            with tables.lock(f"run-{name}", timeout=0, reenter=False):
                keys = tables.files.folders(folder)
                if keys == [published.get(name)] or _last_opened(tables, folder) < oldest:
                    tables.files.delete_folder(folder)
                    removed.append(name)
        except BusyError:
            continue
    return removed


def _delete_old_versions(tables: Tables, name: str, since: datetime) -> int:
    """Delete the versions that were replaced before `since`; return the bytes that were freed."""
    with tables.lock(name, timeout=_CLEANUP_SECONDS):
        dataset = tables.open(name)
        versions = dataset.versions()
        replaced = [
            version["version"]
            for version, successor in pairwise(versions)
            if successor["timestamp"].astimezone(UTC) < since
        ]
        tagged = {tag["version"] for tag in dataset.tags.list().values()}
        if not (obsolete := [version for version in replaced if version not in tagged]):
            return 0
        stats = dataset.cleanup_old_versions(versions=obsolete)
        return int(stats.bytes_removed)


def _options(dataset: lance.LanceDataset) -> dict[str, Any]:
    """Options of compaction: fragments of about 1 GB, so that large rows are seldom rewritten."""
    fragments = dataset.get_fragments()
    files = [file for fragment in fragments for file in fragment.metadata.files]
    rows = sum(fragment.metadata.physical_rows for fragment in fragments)
    size = max(sum(file.file_size_bytes or 0 for file in files) // max(rows, 1), 1)
    return {
        "target_rows_per_fragment": min(max(_FRAGMENT_BYTES // size, 1024), _FRAGMENT_ROWS),
        "batch_size": min(max(_SCAN_BYTES // size, 16), 8192),
    }


def _starts_of_active_runs(tables: Tables) -> list[datetime]:
    """When the stages that are running were started."""
    starts = []
    for name in tables.files.folders(ROOT):
        try:
            with tables.lock(f"run-{name}", timeout=0, reenter=False):
                pass
        except BusyError:
            starts.append(_last_opened(tables, f"{ROOT}/{name}"))
    return starts


def _last_opened(tables: Tables, folder: str) -> datetime:
    """When a run last opened this staging; long ago if that is not known."""
    started = (
        file.modified for file in tables.files.list(folder) if file.path.endswith(f"/{STARTED}")
    )
    return max(started, default=datetime.min.replace(tzinfo=UTC))
