"""Rename a drop whose folder was renamed: its rows are kept, so nothing is measured again.

Pictures and recordings are copied within their table, but not read, decoded or embedded again. The
tables over all drops are out of date then, since the order of drops depends on their names.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pipelines.removal.drops import OF_DROP, without_staging
from pipelines.sources.drops import Drop
from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from pipelines.stages.snapshot import Snapshot
from store.errors import InputError, NotFoundError
from store.tables import schema
from store.tables.columns import with_nulls
from store.tables.lance_tables import Tables, one_of
from store.tables.stage_records import StageRecords
from store.tables.stages import BY_DROP
from store.workspace import Workspace

_BATCH = 256  # rows with pictures and recordings


def rename_drop(workspace: Workspace, old: str, new: str, wait: float = 60.0) -> int:
    """Give the rows of a drop the name under which a source delivers its files now.

    It can be repeated: an interrupted renaming is finished by the next one.

    Args:
        workspace: the corpus.
        old: the name of a drop that no source delivers any more.
        new: the name of a delivered drop that has not been read.
        wait: how long to wait for a stage of the drops that is running, in seconds.

    Returns:
        The number of samples of the drop.

    Raises:
        NotFoundError: there is no such drop, or no source delivers the new one.
        InputError: a source still delivers the old one, the new one has been read, or their files
            differ in path, size or time.
        BusyError: a stage of one of the drops is running.
    """
    delivered = staleness.drops(workspace)
    names = staleness.drops_with_samples(workspace)
    if old not in names:
        raise NotFoundError(f"there is no drop {old!r}; there are {', '.join(names) or 'none'}")
    if new not in delivered:
        raise NotFoundError(
            f"no source delivers a drop {new!r}; they deliver {', '.join(delivered)}"
        )
    if old in delivered:
        raise InputError(f"a source still delivers the drop {old!r}: rename its folder first")
    if new in names:
        raise InputError(f"the drop {new!r} has been read already: remove one of the two")
    records = _records(workspace, old, delivered[new])
    if not records[0]["run_key"]:
        raise InputError(
            f"the files of the drop {new!r} are not those that were read as {old!r}: paths, sizes"
            " and times of files must be the same. `isotrope drop remove` removes the old drop"
        )
    tables, where = workspace.tables, one_of("drop", [old, new])
    stages = {record["stage"] for record in records}
    with without_staging(tables, stages, [old, new], wait):
        for table, columns in OF_DROP.items():
            tables.replace(table, columns, _renamed(tables, table, columns, where, new), where)
        rows = pa.Table.from_pylist(records, schema.STAGES).to_batches()
        tables.replace("stages", schema.STAGES, rows, where)  # last: until then, nothing is renamed
        return tables.open("samples").count_rows(filter=one_of("drop", [new]))


def _records(workspace: Workspace, old: str, drop: Drop) -> list[dict[str, Any]]:
    """The records of a drop under its new name, in the order of the stages.

    The run key of a stage that was out of date is empty, so it stays out of date.
    """
    rows = workspace.tables.scan("stages", schema.STAGES, where=one_of("drop", [old])).to_pylist()
    last = {row["stage"]: row for row in rows}
    renamed: dict[str, dict[str, Any]] = {}
    for stage in BY_DROP:
        for space in workspace.spaces():
            name = space.name_of(stage)
            if name not in last or name in renamed:
                continue
            snapshot = Snapshot(space)
            snapshot.records = StageRecords([*rows, *renamed.values()])
            record, key = dict(last[name], drop=drop.name), run_keys.KEYS[stage]
            is_fresh = record["run_key"] == key(
                StageContext(space, replace(drop, name=old), snapshot=snapshot)
            )
            new_key = key(StageContext(space, drop, snapshot=snapshot)) if is_fresh else ""
            if record["output"] == record["run_key"]:  # such as that of vectors
                record["output"] = new_key
            renamed[name] = record | {"run_key": new_key}
    return list(renamed.values())


def _renamed(
    tables: Tables, table: str, columns: pa.Schema, where: str, drop: str
) -> Iterator[pa.RecordBatch]:
    """The rows of a table that satisfy a condition, with another drop."""
    dataset = tables.open(table)
    present = [name for name in columns.names if name in dataset.schema.names]
    scanner = dataset.scanner(columns=present, filter=where, batch_size=_BATCH)
    for batch in scanner.to_batches():
        whole = with_nulls(batch, columns, columns.names)
        renamed = pa.array([drop] * batch.num_rows, pa.string())
        arrays = [
            renamed if name == "drop" else column
            for name, column in zip(columns.names, whole.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=columns)
