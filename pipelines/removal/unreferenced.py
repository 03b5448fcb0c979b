"""Delete vectors of parts that no sample has any more, such as those of a removed drop."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.engine.duckdb_scratch import ROWS, create_by_range, database, execute, query_value
from store.tables.names import (
    features_table,
    moment_vectors_table,
    tokens_table,
    vectors_table,
)
from store.tables.schema import MODALITIES
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
    tables, settings = workspace.tables, workspace.config.engine.duckdb
    vectors = tables.open(name)
    samples = tables.open("samples")
    parts = samples.scanner(columns=[f"{m}_id" for m in MODALITIES], batch_size=ROWS)
    stored = vectors.scanner(columns=["part_id"], batch_size=ROWS)
    with tempfile.TemporaryDirectory() as folder, database(Path(folder), settings) as connection:
        for table, stream in (("samples", parts), ("vectors", stored)):
            execute(connection, f"CREATE TABLE {table} AS FROM stream", stream=stream.to_reader())
        create_by_range(connection, "unreferenced", _UNREFERENCED, "samples", "vectors")
        count = query_value(connection, "SELECT count(*) FROM unreferenced")

        def removed() -> Iterator[pa.RecordBatch]:
            yield from connection.sql("FROM unreferenced").to_arrow_reader(ROWS)

        with tables.lock("samples"):  # while it is held, no samples are published
            if not count or tables.version("samples") != samples.version:
                return 0
            tables.upsert(name, vectors.schema, [], "part_id", removed=removed())
    return count
