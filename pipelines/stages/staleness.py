"""Which stages are out of date, derived from the run keys in the table `stages`.

The tables alone decide, whichever process wrote them; Dagster's event log is not read.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.sources.drops import Drop, find_drops
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from pipelines.stages.snapshot import Snapshot
from store.errors import NotFoundError, SourceError
from store.tables.stage_records import StageRecords
from store.tables.stages import BY_DROP, BY_SPACE, GLOBAL, STAGES
from store.workspace import Workspace

_CHANGED = "its input, its settings or its code changed"


def drops(workspace: Workspace, only: str | None = None) -> dict[str, Drop]:
    """The drops that the sources of corpus.yaml deliver now, by name, sorted.

    Args:
        only: the name of a drop. Others are left out, and their folders are not listed.

    Raises:
        SourceError: a source is missing or empty, or two sources deliver a drop of one name.
    """
    delivered: dict[str, Drop] = {}
    for name, source in workspace.config.sources.items():
        path = workspace.source_path(source)
        source_drops = find_drops(
            *(name, path, source.drop_by, source.columns, only),
            documents=source.documents,
            videos=source.videos,
            name_captions=source.captions == "names",
        )
        for drop in source_drops.values():
            if drop.name in delivered:
                raise SourceError(
                    f"two sources deliver a drop called {drop.name!r}:"
                    f" {delivered[drop.name].root} and {drop.root}; rename one"
                )
            delivered[drop.name] = drop
    return dict(sorted(delivered.items()))


def drops_with_samples(workspace: Workspace) -> list[str]:
    """Names of the drops that have samples, whether their files are still delivered or not."""
    return StageRecords.read(workspace.tables).drops("samples")


def stale(
    workspace: Workspace, drop: Drop | str | None, snapshot: Snapshot | None = None
) -> list[str]:
    """The stages that are missing or out of date, in the order of the data.

    A stage that reads a stale one is stale too, since its input will change.

    Args:
        workspace: the corpus; in another space than the main one, only stages by space are given.
        drop: a delivered drop: all of its stages are checked. The name of a drop: its files are
            not looked at, and its samples count as up to date. None: the global stages.
        snapshot: of the corpus, to check many drops against one read of the tables.
    """
    return stale_stages(StageContext(workspace, drop, snapshot=snapshot))


def stale_stages(context: StageContext) -> list[str]:
    """As `stale`, for the drop of a context."""
    return list(reasons(context))


def reasons(context: StageContext) -> dict[str, str]:
    """The stages that are missing or out of date, in the order of the data, and why.

    In another space than the main one, these are stages by space only.
    """
    workspace = context.workspace
    snapshot = (context.snapshot or Snapshot(workspace)).of(workspace)
    context = replace(context, snapshot=snapshot)
    shared: dict[str, str] = {}
    if workspace.main is not None:
        main = replace(context, workspace=workspace.main, snapshot=snapshot.of(workspace.main))
        shared = {name: why for name, why in reasons(main).items() if name not in BY_SPACE}
    names = GLOBAL if context.drop is None else BY_DROP
    if isinstance(context.drop, str):
        names = tuple(name for name in names if name != "samples")
    if workspace.main is not None:
        names = tuple(name for name in names if name in BY_SPACE)
    stages: dict[str, str] = {}
    for name in names:
        reads = _reads(workspace, name)
        changing = [each for each in (*shared, *stages) if each in reads]
        done = context.records.get(context.name_of(name), context.drop_name)
        if done is None:
            stages[name] = "not made yet"
        elif changing:
            stages[name] = f"{', '.join(changing)} will change"
        elif _has_changed(context, name, done):
            stages[name] = _CHANGED
    return stages


def _reads(workspace: Workspace, name: str) -> set[str]:
    stage = STAGES[name]
    if stage.reads_if_named and run_keys.names_pairs(workspace, name):
        return set(stage.inputs)
    return set(stage.reads)


def _has_changed(context: StageContext, name: str, done: Mapping[str, Any]) -> bool:
    try:
        return done["run_key"] != run_keys.KEYS[name](context)
    except NotFoundError:  # an input has not been made yet
        return True
