"""DuckDB over streams of the tables: joins, groups and orders of more rows than memory holds."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

ROWS = 8192  # of a batch that is streamed in or out
_MEMORY = "256MB"


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
