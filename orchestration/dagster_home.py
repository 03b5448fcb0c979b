"""The Dagster home of a corpus, `<corpus>/.dagster`: settings, log of runs, partitions.

The tables are the source of truth, so the folder can be deleted: the next run makes it again. Runs
whose process was killed are marked as failed, because they would block later runs.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml
from filelock import FileLock, Timeout

from assets.materialise import ALIVE, CORPUS_POOL, CPU_POOL, DROPS, GPU_POOL
from orchestration.reported_tables import report_tables
from pipelines.stages import staleness
from store.errors import IsotropeError
from store.workspace import Workspace

_SETTINGS = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    # Captured logs go through `tail` processes, and progress bars would see no terminal.
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    },
    "python_logs": {"python_log_level": "INFO"},
}
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def prepare(workspace: Workspace) -> Path:
    """Create the corpus's Dagster home, write its settings, and return its path."""
    home = workspace.root / ".dagster"
    home.mkdir(exist_ok=True)
    settings = home / "dagster.yaml"
    concurrency = {"runs": {"max_concurrent_runs": workspace.config.engine.runs}}
    text = yaml.safe_dump({**_SETTINGS, "concurrency": concurrency}, sort_keys=False)
    if not settings.is_file() or settings.read_text() != text:
        settings.write_text(text)
    return home


@contextmanager
def instance(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    """The corpus's Dagster instance."""
    with dg.DagsterInstance.from_config(str(prepare(workspace))) as opened:
        yield opened


@contextmanager
def alive(workspace: Workspace) -> Iterator[str]:
    """Hold a new lock until the block ends or the process dies; yields the lock's name."""
    name = uuid.uuid4().hex
    path = _lock_path(workspace, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield name
    path.unlink(missing_ok=True)


def fail_dead_runs(workspace: Workspace, opened: dg.DagsterInstance, *, page: bool = False) -> int:
    """Mark runs whose process is gone as failed, and free their concurrency slots.

    Args:
        workspace: the corpus.
        opened: its Dagster instance.
        page: include runs that were launched from the web page, which hold no lock. Set it only
            if no process serves the page.

    Returns:
        The number of these runs.
    """
    count = 0
    for run in opened.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        lock = run.tags.get(ALIVE)
        is_dead = page if lock is None else _is_free(workspace, lock)
        if is_dead:
            opened.report_run_failed(run, message="the process of this run is gone")
            opened.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            count += 1
    return count


def set_pools(workspace: Workspace, opened: dg.DagsterInstance) -> None:
    """Set the limits of Dagster's pools to those of corpus.yaml."""
    pools = workspace.config.engine.pools
    for pool, limit in ((CPU_POOL, pools.cpu), (GPU_POOL, pools.gpu), (CORPUS_POOL, 1)):
        opened.event_log_storage.set_concurrency_slots(pool, limit)


def add_partitions(workspace: Workspace, opened: dg.DagsterInstance) -> None:
    """Add a partition for every drop that has tables or that a source delivers."""
    drops = set(staleness.drops_with_samples(workspace))
    with suppress(IsotropeError):  # while a source is unavailable, drops with tables still count
        drops |= set(staleness.drops(workspace))
    added = sorted(drops - set(opened.get_dynamic_partitions(str(DROPS.name))))
    if added:
        opened.add_dynamic_partitions(str(DROPS.name), added)


def delete_partition(workspace: Workspace, drop: str) -> None:
    """Delete the partition of a drop that was removed."""
    with instance(workspace) as opened:
        if drop in opened.get_dynamic_partitions(str(DROPS.name)):
            opened.delete_dynamic_partition(str(DROPS.name), drop)


def forget_runs(workspace: Workspace) -> None:
    """Delete all runs and what they logged, from the disk too, and report the tables anew.

    What runs log of their tables has thumbnails and keys, which a takedown must remove.
    """
    with instance(workspace) as opened:
        for run in opened.get_runs():
            opened.delete_run(run.run_id)
        opened.wipe_assets(opened.all_asset_keys())
    for database in (workspace.root / ".dagster").rglob("*.db"):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("VACUUM")  # deleted rows stay in the file until then
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with instance(workspace) as opened:
        report_tables(workspace, opened)


def _lock_path(workspace: Workspace, name: str) -> Path:
    return workspace.root / ".dagster" / "alive" / f"{name}.lock"


def _is_free(workspace: Workspace, name: str) -> bool:
    path = _lock_path(workspace, name)
    if not path.is_file():
        return True
    try:
        with FileLock(path, timeout=0):
            pass
    except Timeout:
        return False
    path.unlink(missing_ok=True)
    return True
