"""DuckDB over streams of the tables: joins, groups and orders of more rows than memory holds."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from store.tables.columns import missing, with_nulls
from store.tables.lance_tables import quote
from store.workspace import Workspace

ROWS = 8192  # of a batch that is streamed in or out
_MEMORY = "256MB"
_SCRATCH_MEMORY = "1GB"


@contextmanager
def database(folder: Path, memory: str = _MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a file in `folder`, where it also spills.

    Files are removed at the end, and at the beginning what a run that was killed left.
    """
    place = folder / "duckdb"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    settings: dict[str, Any] = {"memory_limit": memory, "temp_directory": str(place / "spilled")}
    with duckdb.connect(place / "rows.duckdb", config={**settings, "threads": 2}) as connection:
        connection.execute("SET enable_progress_bar = false")
        yield connection
    shutil.rmtree(place, ignore_errors=True)  # with its folder, where publishing ends a staging


def execute(
    connection: duckdb.DuckDBPyConnection, query: str, **streams: pa.RecordBatchReader
) -> None:
    """Run a query that reads streams by the names they are given."""
    for name, stream in streams.items():
        connection.register(name, stream)
    connection.execute(query)
    for name in streams:
        connection.unregister(name)


def value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The only value of a query's only row."""
    return connection.sql(query).fetchall()[0][0]


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a folder that goes with it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        database(Path(folder), _SCRATCH_MEMORY) as connection,
    ):
        yield connection


def load(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    table: str,
    schema: pa.Schema,
    columns: Sequence[str],
    drop: str | None = None,
) -> None:
    """Some columns of a Lance table as a table of the database, of the same name; without rows
    where the corpus has no such table yet. Columns that the table lacks are null."""
    tables = workspace.tables
    there = tables.open(table) if tables.exists(table) else None
    fields = pa.schema([schema.field(c) for c in columns])
    if there is not None:
        absent = {field.name for field in missing(table, there.schema, schema, columns)}
        present = [c for c in columns if c not in absent]
        where = None if drop is None else f"drop = {quote(drop)}"
        scanner = there.scanner(columns=present, filter=where, batch_size=ROWS)
        if absent:
            batches = (with_nulls(batch, schema, columns) for batch in scanner.to_batches())
            stream = pa.RecordBatchReader.from_batches(fields, batches)
        else:
            stream = scanner.to_reader()
    else:
        stream = fields.empty_table().to_reader()
    execute(connection, f"CREATE TABLE {table} AS FROM stream", stream=stream)


def listed(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, by the names of its columns."""
    return connection.sql(query).to_arrow_table().to_pylist()
