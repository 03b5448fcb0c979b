"""Keep the results of comparisons: a new drop costs what is new, no pair is compared twice.

The table `compared` lists the nodes that were compared, by kind of comparison, and `near_pairs`
the pairs that were found. Both store a hash of the settings: with other settings all nodes are
compared again. Nodes that are no longer in the corpus are deleted. Nodes are listed in the scratch
database, in which there may be more than memory holds.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.engine.array_files import ArrayFile
from pipelines.engine.duckdb_scratch import ROWS, create_by_range, execute, query_value
from store.tables.lance_tables import Tables, quote

_TEXT = {name: pa.field(name, pa.string(), nullable=False) for name in ("kind", "settings", "node")}
# a and b are nodes, which are part ids; in a comparison with an evaluation set b is a sample's key.
NEAR_PAIRS = pa.schema(
    [
        _TEXT["kind"],
        _TEXT["settings"],
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)
COMPARED = pa.schema(list(_TEXT.values()))
_MARKED = """
SELECT nodes.*, compared.node IS NULL AS is_new
FROM (FROM nodes WHERE in_range(node)) nodes
LEFT JOIN (FROM compared WHERE in_range(node)) compared USING (node)
"""
# Nodes that were compared come first; both in the order of their names.
_ORDERED = """
CREATE OR REPLACE TABLE ordered AS
SELECT *, row_number() OVER () - 1 AS position FROM (FROM marked ORDER BY is_new, node)
"""
_STORED = """
FROM (FROM {pairs} WHERE in_range({column}))
SEMI JOIN (SELECT node FROM marked WHERE NOT is_new AND in_range(node)) ON node = {column}
"""
_ADD = """
INSERT INTO near
SELECT node, found.b, max(similarity) FROM found JOIN ordered ON position = found.a GROUP BY ALL
"""
_ADD_AMONG = """
INSERT INTO near
WITH once AS (
  SELECT least(a, b) AS a, greatest(a, b) AS b, max(similarity) AS similarity
  FROM found GROUP BY ALL
)
SELECT x.node, y.node, similarity
FROM once JOIN ordered AS x ON x.position = once.a JOIN ordered AS y ON y.position = once.b
"""


@dataclass(frozen=True)
class Nodes:
    """The distinct nodes of a comparison, numbered from 0; those that were compared come first.

    Attributes:
        connection: to the database, whose table `ordered` lists them. For queries of its own.
        first: the number of the first new one.
        count: how many there are.
        folder: for scratch files, in which there may be more than memory holds.
    """

    connection: duckdb.DuckDBPyConnection
    first: int
    count: int
    folder: Path

    def file(self, name: str, width: int, dtype: type) -> ArrayFile:
        """A scratch file with a row of some values for each node, (count, width)."""
        return ArrayFile(self.folder / name, (self.count, width), dtype)

    def rows(self, column: str, start: int = 0) -> ArrayFile:
        """A column of `ordered` from the node `start` on, int64."""
        out = ArrayFile(self.folder / column, (self.count - start,), np.int64)
        query = f'SELECT "{column}" AS value FROM ordered'
        query += f" WHERE position >= {start} ORDER BY position"
        begin = 0
        for batch in self.connection.sql(query).to_arrow_reader(ROWS):
            out[begin : begin + batch.num_rows] = batch["value"].to_numpy()
            begin += batch.num_rows
        return out

    def in_order(self, column: str, joined: str = "") -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of numbers of nodes and their row ids, in the order of the row ids.

        Args:
            column: of `ordered`, or of what is joined with it: row ids of a table.
            joined: SQL of a join.
        """
        query = f"SELECT position, {column} AS value FROM ordered {joined} ORDER BY value"
        for batch in self.connection.sql(query).to_arrow_reader(ROWS):
            yield batch["position"].to_numpy(), batch["value"].to_numpy().astype(np.int64)

    def ranks(self) -> np.ndarray:
        """(count,) int64: the places of the nodes in the order of their names."""
        query = "SELECT row_number() OVER () AS value, position FROM (FROM ordered ORDER BY node)"
        values = self.connection.sql(f"SELECT value FROM ({query}) ORDER BY position").fetchnumpy()
        return values["value"].astype(np.int64)


# The nodes -> tables (a, b, similarity) of the pairs with a new node: a and b are numbers of nodes,
# or b is the key of a sample of an evaluation. Of a pair that comes several times, the highest
# similarity counts.
Find = Callable[[Nodes], Iterable[pa.Table]]


def near_pairs(
    tables: Tables,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    kind: str,
    settings: str,
    find: Find,
    among: bool = True,
) -> None:
    """Make the table `near` of all near pairs of the current nodes; only new ones are compared.

    Its columns are a, b and similarity.

    Args:
        tables: the tables of the corpus.
        connection: to a database whose table `nodes` has the current nodes: a column `node` of
            unique strings, and those that `find` reads.
        folder: for scratch files.
        kind: the name of the comparison.
        settings: a hash of everything that its results depend on beside the nodes.
        find: compares nodes.
        among: whether nodes are compared with each other, so that b is a node too.
    """
    current = f"kind = {quote(kind)} AND settings = {quote(settings)}"
    _load(tables, connection, "compared", COMPARED, ["node"], current)
    _load(tables, connection, "near_pairs", NEAR_PAIRS, ["a", "b", "similarity"], current)
    create_by_range(connection, "marked", _MARKED, "nodes", "compared")
    connection.execute(_ORDERED)
    stored = "near_pairs"
    for column in ("a", "b") if among else ("a",):
        query = _STORED.format(pairs=stored, column=column)
        create_by_range(connection, "near", query, stored, "marked")
        stored = "near"
    count, first, last = (
        query_value(connection, f"SELECT count(*) FROM {rows}")
        for rows in ("ordered", "ordered WHERE NOT is_new", "compared")
    )
    if count == first == last:
        return
    if count > first:
        with TemporaryDirectory(dir=folder) as name, connection.cursor() as cursor:
            _add_found(connection, find(Nodes(cursor, first, count, Path(name))), among)
    # Pairs are written first. If the run dies in between, the new nodes are compared again, and
    # the pairs of nodes that are not listed as compared are filtered out above.
    for name, columns, rows in (
        ("near_pairs", NEAR_PAIRS, "SELECT a, b, similarity FROM near"),
        ("compared", COMPARED, "SELECT node FROM ordered"),
    ):
        constants = f"SELECT {quote(kind)} AS kind, {quote(settings)} AS settings, * FROM ({rows})"
        batches = _stream(connection, constants, columns)
        tables.replace(name, columns, batches, f"kind = {quote(kind)}")


def _add_found(
    connection: duckdb.DuckDBPyConnection, blocks: Iterable[pa.Table], among: bool
) -> None:
    """Add the pairs of new nodes to `near`."""
    other = "BIGINT" if among else "VARCHAR"
    connection.execute(f"CREATE OR REPLACE TABLE found (a BIGINT, b {other}, similarity FLOAT)")
    for block in blocks:
        execute(connection, "INSERT INTO found FROM stream", stream=block.to_reader())
    connection.execute(_ADD_AMONG if among else _ADD)


def _load(
    tables: Tables,
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: pa.Schema,
    names: list[str],
    where: str,
) -> None:
    """Copy some rows of a table into a table of the database with the same name."""
    dataset = tables.open_or_none(name)
    if dataset is None:
        stream = pa.schema([columns.field(n) for n in names]).empty_table().to_reader()
    else:
        stream = dataset.scanner(columns=names, filter=where, batch_size=ROWS).to_reader()
    execute(connection, f"CREATE OR REPLACE TABLE {name} AS FROM stream", stream=stream)


def _stream(
    connection: duckdb.DuckDBPyConnection, query: str, columns: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for batch in connection.sql(query).to_arrow_reader(ROWS):
        yield pa.RecordBatch.from_arrays(batch.select(columns.names).columns, schema=columns)
