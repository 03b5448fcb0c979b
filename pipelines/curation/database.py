"""What the page asks of DuckDB: tables as they are, and rows as dictionaries."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.database import ROWS, database, execute
from store.tables import quote
from store.workspace import Workspace

_MEMORY = "1GB"


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a folder that goes with it."""
    with tempfile.TemporaryDirectory() as folder, database(Path(folder), _MEMORY) as connection:
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
        scanner = there.scanner(columns=list(columns), filter=where, batch_size=ROWS)
        stream = scanner.to_reader()
    else:
        stream = pa.schema([schema.field(c) for c in columns]).empty_table().to_reader()
    execute(connection, f"CREATE TABLE {table} AS FROM stream", stream=stream)


def listed(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, by the names of its columns."""
    return connection.sql(query).to_arrow_table().to_pylist()
