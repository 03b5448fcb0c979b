"""Delete vectors of parts that no sample has any more, such as those of a removed drop."""

import tempfile
from pathlib import Path

from pipelines.engine.open_scratch import scratch_tables
from pipelines.engine.scratch_tables import batches_in_order
from store.tables.names import (
    features_table,
    moment_vectors_table,
    tokens_table,
    vectors_table,
)
from store.tables.schema import MODALITIES
from store.tables.table_version import TableVersion
from store.workspace import Workspace

_BY_MODALITY = (features_table, tokens_table, moment_vectors_table)
_UNREFERENCED = "SELECT part_id FROM (FROM vectors WHERE in_range(part_id))" + "".join(
    f" ANTI JOIN (FROM samples WHERE in_range({m}_id)) ON part_id = {m}_id" for m in MODALITIES
)


def delete_unreferenced(workspace: Workspace) -> dict[str, int]:
    """Delete the rows of vectors of all kinds whose parts are in no row of `samples`.

    It may run beside stages. Samples are published before their parts are embedded, so a part of
    a drop that is being embedded is referenced. If samples are published meanwhile, nothing is
    deleted; the next maintenance does it.

    Returns:
        The number of deleted rows, by table.
    """
    tables = workspace.tables
    names = {
        name
        for space in (*workspace.config.spaces, *workspace.config.query_spaces)
        for name in (
            vectors_table(space),
            *(each(space, m) for each in _BY_MODALITY for m in MODALITIES),
        )
    }
    deleted = {}
    for name in sorted(names):
        if tables.exists(name) and (count := _delete(workspace, name)):
            deleted[name] = count
    return deleted


def _delete(workspace: Workspace, name: str) -> int:
    tables, engine = workspace.tables, workspace.config.engine
    samples, vectors = (TableVersion(tables, n, tables.version(n)) for n in ("samples", name))
    rows = vectors.open().count_rows()
    with (
        tempfile.TemporaryDirectory() as folder,
        scratch_tables(engine, Path(folder), rows) as scratch,
    ):
        parts = [f"{m}_id" for m in MODALITIES]
        scratch.scan("samples", samples, {part: part for part in parts})
        scratch.scan("vectors", vectors, {"part_id": "part_id"})
        scratch.create("unreferenced", _UNREFERENCED, samples=parts, vectors="part_id")
        count = scratch.count("unreferenced")
        removed = batches_in_order(scratch, "unreferenced", ["part_id"])
        with tables.lock("samples"):  # while it is held, no samples are published
            if not count or tables.version("samples") != samples.version:
                return 0
            tables.upsert(name, vectors.open().schema, [], "part_id", removed=removed)
    return count
