"""Dagster's home of a corpus: <corpus>/.dagster, with its log of runs. The tables are the truth,
so the folder can be lost; and runs that were killed are cleared from it, lest they hold up others.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml
from filelock import FileLock, Timeout

from assets.materialise import DROPS
from assets.metadata.markdown import summary
from pipelines.stages import staleness
from store.errors import IsotropeError
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.workspace import Workspace

ALIVE = "isotrope/alive"  # tag: the lock that the run's process holds for as long as it lives

_SETTINGS = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    # The stages of a corpus lock each other out: a second run would only wait.
    "concurrency": {"runs": {"max_concurrent_runs": 1}},
    # Kept logs would come by way of `tail` processes, and leave progress bars no terminal.
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
    """The corpus's Dagster home, with its settings written."""
    home = workspace.root / ".dagster"
    home.mkdir(exist_ok=True)
    settings = home / "dagster.yaml"
    text = yaml.safe_dump(_SETTINGS, sort_keys=False)
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
    """The name of a lock that is held until the block ends, or the process dies."""
    name = uuid.uuid4().hex
    path = _lock(workspace, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield name
    path.unlink(missing_ok=True)


def bury(workspace: Workspace, opened: dg.DagsterInstance, *, page: bool = False) -> int:
    """Mark runs as failed whose process is gone, and free what they hold; returns how many.

    Args:
        page: also those that were launched from the page: say so only where none is served.
    """
    buried = 0
    for run in opened.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        name = run.tags.get(ALIVE)
        dead = page if name is None else _is_free(workspace, name)
        if dead:
            opened.report_run_failed(run, message="the process of this run is gone")
            opened.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            buried += 1
    return buried


def register(workspace: Workspace, opened: dg.DagsterInstance) -> None:
    """Make partitions of the drops that the tables know or the sources deliver."""
    names = set(staleness.known_drops(workspace))
    with suppress(IsotropeError):  # a source that is away must not hide what was made of it
        names |= set(staleness.drops(workspace))
    added = sorted(names - set(opened.get_dynamic_partitions(str(DROPS.name))))
    if added:
        opened.add_dynamic_partitions(str(DROPS.name), added)


def catch_up(workspace: Workspace, opened: dg.DagsterInstance) -> int:
    """Tell Dagster of what the tables hold and its log does not; returns of how many stages.

    Its log can be lost, or the corpus may have been copied from where it was made.
    """
    told = 0
    for made in workspace.tables.scan("stages", schema.STAGES).to_pylist():
        partition = None if made["drop"] == EVERY_DROP else made["drop"]
        key = dg.AssetKey(made["stage"])
        known = opened.fetch_materializations(
            dg.AssetRecordsFilter(key, asset_partitions=[partition] if partition else None), limit=1
        )
        last = known.records[0].asset_materialization if known.records else None
        if last is None or last.metadata["run_key"].value != made["run_key"]:
            metadata = {"up_to_date": True, **summary(made)}
            opened.report_runless_asset_event(
                dg.AssetMaterialization(key, metadata=metadata, partition=partition)
            )
            told += 1
    return told


def _lock(workspace: Workspace, name: str) -> Path:
    return workspace.root / ".dagster" / "alive" / f"{name}.lock"


def _is_free(workspace: Workspace, name: str) -> bool:
    path = _lock(workspace, name)
    if not path.is_file():
        return True
    try:
        with FileLock(path, timeout=0):
            pass
    except Timeout:
        return False
    path.unlink(missing_ok=True)
    return True
