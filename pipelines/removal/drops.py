"""List and remove the drops of a corpus.

A removal deletes the rows that are recorded by drop. The tables over all drops are out of date
then, and `isotrope run` makes them again. Kept releases still have the drop's samples until newer
ones replace them: `isotrope takedown` removes content from those too.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from pipelines.stages import staleness
from store.errors import InputError, NotFoundError
from store.tables import schema, staging
from store.tables.lance_tables import Tables, quote
from store.tables.stage_records import forget_records
from store.tables.stages import BY_DROP
from store.workspace import Workspace

OF_DROP = {"samples": schema.SAMPLES, "signals": schema.SIGNALS, "ledger": schema.LEDGER}


class DropState(NamedTuple):
    """A drop that has tables, that a source delivers, or both.

    Attributes:
        name: of the drop.
        samples: the number of its samples; None if they have not been read yet.
        is_delivered: whether a source delivers it now.
    """

    name: str
    samples: int | None
    is_delivered: bool


def list_drops(workspace: Workspace) -> list[DropState]:
    """All drops, sorted by name.

    Raises:
        SourceError: a source is missing or empty.
    """
    rows = workspace.tables.scan(
        "stages", schema.STAGES, ["drop", "kept"], "stage = 'samples'"
    ).to_pylist()
    kept = {row["drop"]: row["kept"] for row in rows}
    delivered = staleness.drops(workspace).keys()
    names = sorted(kept.keys() | delivered)
    return [DropState(name, kept.get(name), name in delivered) for name in names]


def lost_drops(workspace: Workspace, delivered: Collection[str] | None = None) -> list[str]:
    """The drops that have samples and that no source delivers any more, sorted.

    Args:
        workspace: the corpus.
        delivered: the drops that the sources deliver. None: the sources are listed.

    Raises:
        SourceError: a source is missing or empty. A folder that is not mounted loses no drop.
    """
    if delivered is None:
        delivered = staleness.drops(workspace)
    return [name for name in staleness.drops_with_samples(workspace) if name not in delivered]


def remove_drop(workspace: Workspace, name: str, wait: float = 60.0) -> int:
    """Delete the samples, signals, ledger entries and records of a drop.

    It can be repeated: an interrupted removal is finished by the next one.

    Args:
        workspace: the corpus.
        name: of the drop.
        wait: how long to wait for a stage of the drop that is running, in seconds.

    Returns:
        The number of samples that were deleted.

    Raises:
        InputError: a source still delivers the drop.
        NotFoundError: there is no such drop.
        BusyError: a stage of the drop is running.
    """
    tables = workspace.tables
    states = {drop.name: drop for drop in list_drops(workspace)}
    if name not in states:
        raise NotFoundError(f"there is no drop {name!r}; there are {', '.join(states) or 'none'}")
    if states[name].is_delivered:
        raise InputError(
            f"a source still delivers the drop {name!r}, so the next run would read it again: move"
            " its files away first"
        )
    where = f"drop = {quote(name)}"
    stages = {space.name_of(stage) for space in workspace.spaces() for stage in BY_DROP}
    with without_staging(tables, stages, [name], wait):
        count = tables.open("samples").count_rows(filter=where)
        for table, columns in OF_DROP.items():
            tables.replace(table, columns, [], where)
        forget_records(tables, where)  # last: until then, the drop is listed
    return count


@contextmanager
def without_staging(
    tables: Tables, stages: Iterable[str], drops: Collection[str], wait: float
) -> Iterator[None]:
    """Hold the locks of stages of drops, and delete what they have staged.

    Raises:
        BusyError: one of them runs for longer than `wait` seconds.
    """
    with ExitStack() as stack:
        for stage in stages:
            for drop in drops:
                stack.enter_context(tables.lock(staging.stage_lock(stage, drop), timeout=wait))
                folder = f"{stage}-{staging.drop_hash(drop)}"
                tables.files.delete_folder(f"{staging.ROOT}/{folder}")
        yield
