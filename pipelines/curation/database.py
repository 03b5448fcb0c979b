"""DuckDB over streams of the tables: joins and groups of more rows than memory holds."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from store.tables import quote
from store.workspace import Workspace

_MEMORY = "1GB"
_ROWS = 8192


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database that spills what is too large into a folder that goes with it."""
    with tempfile.TemporaryDirectory() as spilled:
        settings: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": spilled}
        with duckdb.connect(config={**settings, "threads": 2}) as connection:
            connection.execute("SET enable_progress_bar = false")
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
    where the corpus has no such table yet, or one from before it had these columns."""
    tables = workspace.tables
    there = tables.open(table) if tables.exists(table) else None
    if there is not None and set(columns) <= set(there.schema.names):
        where = None if drop is None else f"drop = {quote(drop)}"
        scanner = there.scanner(columns=list(columns), filter=where, batch_size=_ROWS)
        stream = scanner.to_reader()
    else:
        stream = pa.schema([schema.field(c) for c in columns]).empty_table().to_reader()
    connection.register("stream", stream)
    connection.execute(f"CREATE TABLE {table} AS FROM stream")
    connection.unregister("stream")


def listed(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, by the names of its columns."""
    return connection.sql(query).to_arrow_table().to_pylist()
