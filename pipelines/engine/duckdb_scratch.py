"""Scratch databases of DuckDB: joins, groups and orders of more rows than memory holds.

Rows are streamed from Lance into a database file, queried there, and streamed out in batches. The
file and what DuckDB spills are local and temporary: no table of the corpus is stored here.
"""

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from store.config.engine import DuckDB
from store.errors import ConfigError, DamagedTableError
from store.tables.columns import missing, with_nulls
from store.tables.lance_tables import Tables, quote
from store.workspace import Workspace

ROWS = 8192  # of a batch that is streamed in or out
_RANGE_BYTES = 64  # of the memory limit for each row of a range
_DEFAULT = DuckDB()
_REPORT = DuckDB(memory=1_000_000_000)  # its queries group and sort


@contextmanager
def database(folder: Path, settings: DuckDB = _DEFAULT) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database in a file in `folder`, where it also spills.

    The files are removed at the end. Files that a killed run left there are removed first.

    Args:
        folder: any folder; the database takes its subfolder `duckdb`.
        settings: of DuckDB, `engine.duckdb` of corpus.yaml.

    Raises:
        ConfigError: a query in the `with` block needs more memory, although it spills.
    """
    path = folder / "duckdb"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    config: dict[str, Any] = {
        "memory_limit": f"{settings.memory}B",
        "temp_directory": str(path / "spilled"),
        "threads": settings.threads,
    }
    with duckdb.connect(path / "rows.duckdb", config=config) as connection:
        connection.execute("SET enable_progress_bar = false")
        # Tables are read a few times, which is less than compressing them costs. (A database in
        # memory that spills costs even less, but runs out of memory with 8,000,000 samples.)
        connection.execute("SET force_compression = 'uncompressed'")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise ConfigError(
                f"DuckDB needs more than {settings.memory:,} bytes, although it spills to {path};"
                f" set engine.duckdb.memory in corpus.yaml to {4 * settings.memory}"
                f" ({str(error).splitlines()[0]})"
            ) from error
    # Ignores errors: publishing a stage removes its staging, and this folder with it.
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def temporary_database(settings: DuckDB = _REPORT) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database in a temporary folder, which is removed at the end.

    Args:
        settings: of DuckDB.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        database(Path(folder), settings) as connection,
    ):
        yield connection


def load_table(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    table: str,
    schema: pa.Schema,
    columns: Sequence[str],
    drop: str | None = None,
) -> None:
    """Copy columns of a Lance table into a table of the database with the same name.

    Args:
        schema: of the Lance table; gives the types of the columns where it does not exist.
        drop: copy the rows of this drop; None: all rows.
    """
    where = None if drop is None else f"drop = {quote(drop)}"
    stream = stream_columns(workspace.tables, table, schema, columns, filter=where)
    execute(connection, f"CREATE TABLE {table} AS FROM stream", stream=stream)


def stream_columns(
    tables: Tables, name: str, schema: pa.Schema, columns: Sequence[str], **scanner_options: Any
) -> pa.RecordBatchReader:
    """Stream columns of a Lance table.

    There are no rows if the corpus has no such table yet. Columns that the table lacks, because it
    was written before they were added, are null.

    Args:
        tables: of the corpus.
        name: of the table.
        schema: of the table; gives the types of the columns where it does not exist.
        columns: to read, in this order.
        scanner_options: of `LanceDataset.scanner`.
    """
    dataset = tables.open_or_none(name)
    fields = pa.schema([schema.field(c) for c in columns])
    if dataset is None:
        return fields.empty_table().to_reader()
    absent = {field.name for field in missing(name, dataset.schema, schema, columns)}
    present = [c for c in columns if c not in absent]
    scanner = dataset.scanner(columns=present, batch_size=ROWS, **scanner_options)
    if not absent:
        return scanner.to_reader()
    batches = (with_nulls(batch, schema, columns) for batch in scanner.to_batches())
    return pa.RecordBatchReader.from_batches(fields, batches)


def execute(
    connection: duckdb.DuckDBPyConnection, query: str, **streams: pa.RecordBatchReader
) -> None:
    """Run a query that reads Arrow streams.

    Args:
        streams: by the names under which the query reads them. Each is read once.

    Raises:
        DamagedTableError: a stream's table cannot be read.
    """
    for name, stream in streams.items():
        connection.register(name, stream)
    try:
        connection.execute(query)
    except duckdb.Error as error:  # DuckDB turns the errors of a stream into text
        if "is damaged: " in str(error):
            raise DamagedTableError(str(error)) from error
        raise
    for name in streams:
        connection.unregister(name)


def create_by_range(
    connection: duckdb.DuckDBPyConnection, table: str, query: str, *tables: str
) -> None:
    """Create a table from a query, one range of hashes after another.

    A join or a group of too many rows needs more memory than the limit, although it spills: each of
    its partitions keeps a block in memory. A range has as many rows as the limit allows.

    Args:
        table: its name. A table of that name is replaced at the end, so the query may read it.
        query: reads rows `WHERE in_range(column)`. Rows that meet in a join or a group must have
            the same value in that column.
        tables: that are read, at least the largest one.
    """
    rows = max(query_value(connection, f"SELECT count(*) FROM {name}") for name in tables)
    memory = query_value(
        connection, "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
    )
    ranges = count_ranges(rows, memory)
    for number in range(ranges):
        define_range(connection, number, ranges)
        create = "INSERT INTO made" if number else "CREATE TABLE made AS"
        connection.execute(f"{create} {query}")
    connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute(f"ALTER TABLE made RENAME TO {table}")


def count_ranges(rows: int, memory: int) -> int:
    """How many ranges so many rows have, so that those of a range fit into `memory` bytes."""
    return max(1, math.ceil(rows * _RANGE_BYTES / memory))


def define_range(connection: duckdb.DuckDBPyConnection, number: int, ranges: int) -> None:
    """Let `in_range(value)` be true for the values of a range, of which there are so many."""
    condition = f"hash(value) % {ranges} = {number}" if ranges > 1 else "true"
    connection.execute(f"CREATE OR REPLACE TEMP MACRO in_range(value) AS {condition}")


def query_value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The single value of a query that returns one row of one column."""
    return connection.sql(query).fetchall()[0][0]


def query_rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query as dictionaries from column name to value, all in memory."""
    return connection.sql(query).to_arrow_table().to_pylist()
