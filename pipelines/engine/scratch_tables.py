"""Scratch tables: joins, groups and orders of all rows of a corpus, by ranges of hashes.

There are two kinds with the same interface and the same results. `DuckDBTables` are in a database
of this process (`pipelines.engine.duckdb_scratch`); `RayTables` are in the object store of a Ray
cluster, and tasks on its nodes query them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import duckdb
import pyarrow as pa

from pipelines.engine.duckdb_scratch import ROWS, create_by_range, execute, query_value
from store.tables.table_version import TableVersion

Columns: TypeAlias = str | Sequence[str]


class ScratchTables(Protocol):
    """Tables with names. They are not tables of the corpus, and end with the run of a stage."""

    def scan(
        self, name: str, source: TableVersion, columns: Mapping[str, str], where: str | None = None
    ) -> None:
        """Copy columns of a stored table into a new table.

        Args:
            name: of the new table.
            source: the stored table.
            columns: expressions of Lance by the names of the columns.
            where: a condition of Lance.

        Raises:
            DamagedTableError: the stored table cannot be read.
        """

    def load(self, name: str, rows: pa.Table) -> None:
        """Make a table of a few rows. Every query can read all of it. It is replaced."""

    def create(self, name: str, query: str, **columns: Columns) -> None:
        """Make a table from a query, one range of hashes at a time. It is replaced at the end.

        Args:
            name: of the table, which the query may read.
            query: reads rows `WHERE in_range(column)`. Rows that meet in a join or a group must
                have the same value in that column.
            columns: for each table of `scan`, `create` or `number` that the query reads, the
                column of `in_range`, or several: the rows for which any is in the range are there.
        """

    def number(self, name: str, source: str, order: Sequence[str]) -> None:
        """Make a table of the rows of another one with their place in an order, from 1, `number`.

        Args:
            name: of the table.
            source: the other table.
            order: columns that no two rows have in common, and of which none is null.
        """

    def count(self, name: str, where: str = "true") -> int:
        """The number of rows of a table that satisfy a condition."""

    def sum(self, name: str, expression: str) -> int:
        """The sum of an integer expression over the rows of a table; 0 without rows."""

    def select(self, query: str, name: str) -> pa.Table:
        """The few rows that a query finds in a table.

        Args:
            query: is done on blocks of rows, and then on its results for all blocks. Both together
                must be the same as on all rows at once: so it may filter, order, limit, or group by
                columns with their smallest values or sums under the same names.
            name: of the table.
        """

    def fold(self, function: Callable[[pa.Table], Any], name: str) -> Iterator[Any]:
        """What a function, which can be pickled, returns for each block of rows of a table."""

    def in_order(
        self, name: str, order: Sequence[str], columns: str = "*", rows: int = ROWS
    ) -> Iterator[pa.Table]:
        """The rows of a table in an order, a few at a time.

        Args:
            name: of the table.
            order: columns that no two rows have in common, and of which none is null.
            columns: SQL of the selected ones.
            rows: of each result but the last one.
        """

    def drop(self, *names: str) -> None:
        """Forget tables."""


class DuckDBTables:
    """Scratch tables in a database.

    Attributes:
        connection: to the database (`pipelines.engine.duckdb_scratch.database`).
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self.connection = connection

    def scan(
        self, name: str, source: TableVersion, columns: Mapping[str, str], where: str | None = None
    ) -> None:
        scanner = source.open().scanner(columns=dict(columns), filter=where, batch_size=ROWS)
        self._store(name, scanner.to_reader())

    def load(self, name: str, rows: pa.Table) -> None:
        self._store(name, rows.to_reader())

    def create(self, name: str, query: str, **columns: Columns) -> None:
        create_by_range(self.connection, name, query, *columns)

    def number(self, name: str, source: str, order: Sequence[str]) -> None:
        ordered = f"FROM {source} ORDER BY {quoted(order)}"
        query = f"SELECT row_number() OVER () AS number, * FROM ({ordered})"
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")

    def count(self, name: str, where: str = "true") -> int:
        return int(query_value(self.connection, f"SELECT count(*) FROM {name} WHERE {where}"))

    def sum(self, name: str, expression: str) -> int:
        query = f"SELECT coalesce(sum(({expression})::HUGEINT), 0) FROM {name}"
        return int(query_value(self.connection, query))

    def select(self, query: str, name: str) -> pa.Table:
        return self.connection.sql(query).to_arrow_table()

    def fold(self, function: Callable[[pa.Table], Any], name: str) -> Iterator[Any]:
        yield from map(function, self._stream(f"FROM {name}", ROWS))

    def in_order(
        self, name: str, order: Sequence[str], columns: str = "*", rows: int = ROWS
    ) -> Iterator[pa.Table]:
        query = f"SELECT {columns} FROM {name} ORDER BY {quoted(order)}"
        yield from in_tables_of(self._stream(query, rows), rows)

    def drop(self, *names: str) -> None:
        for name in names:
            self.connection.execute(f"DROP TABLE {name}")

    def _store(self, name: str, stream: pa.RecordBatchReader) -> None:
        execute(self.connection, f"CREATE OR REPLACE TABLE {name} AS FROM stream", stream=stream)

    def _stream(self, query: str, rows: int) -> Iterator[pa.Table]:
        # A cursor of its own: another query would end the stream.
        for batch in self.connection.cursor().sql(query).to_arrow_reader(rows):
            yield pa.Table.from_batches([batch])


def batches_in_order(
    scratch: ScratchTables, name: str, order: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of a scratch table in an order, as a stored table takes them."""
    for table in scratch.in_order(name, order):
        yield from table.to_batches()


def in_tables_of(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows; the last one may have fewer, but has some."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(each.num_rows for each in held) >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows)
            held = [joined.slice(rows)]
    if rest := sum(each.num_rows for each in held):
        yield pa.concat_tables(held).slice(0, rest)


def quoted(columns: Iterable[str]) -> str:
    """Columns as SQL lists them."""
    return ", ".join(f'"{column}"' for column in columns)
