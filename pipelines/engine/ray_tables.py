"""Scratch tables in the object store of a Ray cluster, queried by tasks (`scratch_tables`).

A table is a list of blocks, which Ray moves to disk when its store is full. To make a table from
others, tasks divide their blocks by ranges of hashes, and a task for each range queries the rows of
the range with a DuckDB of its own. The driver holds references and counts only. A task whose
process or node dies is done again.

With r ranges, a table is divided into r x r pieces, and Ray needs some 2 KB of the driver for each.
A range has as many rows as the memory of a task's DuckDB allows, so ten times that memory makes a
hundredth of the pieces.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray

from embedders.pool.ray_cluster import cpus
from pipelines.engine.duckdb_scratch import ROWS, count_ranges, define_range, temporary_database
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.scratch_tables import Columns, in_tables_of, quoted
from store.config.engine import DuckDB
from store.tables.table_version import TableVersion

_SCANNED = 500_000  # rows of a block that is read from a stored table, unless a fragment has more
_LEAST = 50_000  # rows of a range; fewer are not worth a task
_SAMPLED = 100  # rows of each block from which the limits of ordered blocks are chosen


class _Block(NamedTuple):
    """References of the number of rows, and of the rows as `_packed`."""

    count: Any
    rows: Any


@dataclass
class _Table:
    """Blocks of rows, and references of their pieces, by the columns and the number of ranges."""

    blocks: list[_Block]
    pieces: dict[tuple[tuple[str, ...], int], list[list[Any]]] = field(default_factory=dict)


class RayTables:
    """Scratch tables in the object store. This process must be connected to Ray.

    Args:
        settings: of the DuckDB of each task.
    """

    def __init__(self, settings: DuckDB):
        self._settings = settings
        self._tables: dict[str, _Table] = {}
        self._small: dict[str, pa.Table] = {}  # those of `load`, which all tasks get

    def scan(
        self, name: str, source: TableVersion, columns: Mapping[str, str], where: str | None = None
    ) -> None:
        shared = ray.put((source, dict(columns), where))
        groups, rows = list[list[int]]([[]]), 0
        for fragment in source.open().get_fragments():
            count = fragment.metadata.num_rows
            if groups[-1] and rows + count > _SCANNED:
                groups, rows = [*groups, []], 0
            groups[-1].append(fragment.fragment_id)
            rows += count
        self._tables[name] = _Table([_Block(*_scan.remote(shared, ids)) for ids in groups])

    def load(self, name: str, rows: pa.Table) -> None:
        self._small[name] = rows
        self._tables[name] = _Table([_Block(ray.put(rows.num_rows), ray.put(_packed(rows)))])

    def create(self, name: str, query: str, **columns: Columns) -> None:
        ranges = self._ranges(max(map(self.count, columns)))
        divided = [
            self._divided(table, (by,) if isinstance(by, str) else tuple(by), ranges)
            for table, by in columns.items()
        ]
        counts = {table: len(blocks) for table, blocks in zip(columns, divided, strict=True)}
        shared = ray.put((query, counts, self._others(*columns), ranges, self._settings))
        pieces = zip(*itertools.chain(*divided), strict=True)
        self._tables[name] = _Table(
            [_Block(*_query.remote(shared, n, *of_range)) for n, of_range in enumerate(pieces)]
        )

    def number(self, name: str, source: str, order: Sequence[str]) -> None:
        place = "row_number() OVER () + (SELECT first_row FROM start) AS number"
        query = f"SELECT {place}, * FROM ordered"
        self._tables[name] = _Table(self._ordered(source, list(order), query))

    def count(self, name: str, where: str = "true") -> int:
        if where == "true":
            return int(sum(ray.get([block.count for block in self._tables[name].blocks])))
        return self.sum(name, f"CASE WHEN {where} THEN 1 ELSE 0 END")

    def sum(self, name: str, expression: str) -> int:
        query = f"SELECT coalesce(sum(({expression})::HUGEINT), 0) AS sum FROM {name}"
        return sum(int(table["sum"][0].as_py()) for table in self._of_blocks(name, query))

    def select(self, query: str, name: str) -> pa.Table:
        rows = pa.concat_tables(self._of_blocks(name, query))
        return _run(query, self._others(name) | {name: rows}, self._settings)

    def fold(self, function: Callable[[pa.Table], Any], name: str) -> Iterator[Any]:
        shared = ray.put(function)
        results = [_apply.remote(shared, block.rows) for block in self._tables[name].blocks]
        yield from map(ray.get, results)

    def in_order(
        self, name: str, order: Sequence[str], columns: str = "*", rows: int = ROWS
    ) -> Iterator[pa.Table]:
        blocks = self._ordered(name, list(order), f"SELECT {columns} FROM ordered")
        yield from in_tables_of((_unpacked(ray.get(block.rows)) for block in blocks), rows)

    def drop(self, *names: str) -> None:
        for name in names:
            del self._tables[name]
            self._small.pop(name, None)

    def _others(self, *names: str) -> dict[str, pa.Table]:
        """The small tables but those of some names."""
        return {n: rows for n, rows in self._small.items() if n not in names}

    def _ranges(self, rows: int) -> int:
        """The number of ranges: a power of two, so that tables of unlike sizes share pieces."""
        least = max(count_ranges(rows, self._settings.memory), min(2 * cpus(), rows // _LEAST))
        return 1 << (least - 1).bit_length()

    def _of_blocks(self, name: str, query: str) -> list[pa.Table]:
        """The results of a query for each block of a table."""
        shared = ray.put((query, name, self._others(name), self._settings))
        results = [_select.remote(shared, block.rows) for block in self._tables[name].blocks]
        return list(ray.get(results))

    def _divided(self, name: str, columns: tuple[str, ...], ranges: int) -> list[list[Any]]:
        """References of the rows of each range, for each block of a table."""
        table = self._tables[name]
        if ranges == 1:
            return [[block.rows] for block in table.blocks]
        if (columns, ranges) not in table.pieces:
            divide = _divide.options(num_returns=ranges)
            shared = ray.put((columns, ranges, self._settings))
            pieces = [divide.remote(shared, block.rows) for block in table.blocks]
            table.pieces[columns, ranges] = pieces
        return table.pieces[columns, ranges]

    def _ordered(self, name: str, order: list[str], query: str) -> list[_Block]:
        """Blocks of a table's rows in an order.

        Args:
            name: of the table.
            order: columns.
            query: of the table `ordered` of each block, in this order, and of `start`, whose
                `first_row` is the number of rows before it.
        """
        blocks, ranges = self._tables[name].blocks, self._ranges(self.count(name))
        sampled = f"SELECT {quoted(order)} FROM {name} USING SAMPLE reservoir({_SAMPLED} ROWS)"
        rows = pa.concat_tables(self._of_blocks(name, sampled))
        rows = rows.sort_by([(column, "ascending") for column in order])
        limits = rows.take(pa.array(np.arange(1, ranges) * rows.num_rows // ranges))
        shared = ray.put((order, limits, query, self._settings))
        divide = _divide_by_order.options(num_returns=1 + ranges)
        divided = [divide.remote(shared, block.rows) for block in blocks]
        counts = np.sum(ray.get([counts for counts, *_ in divided]), axis=0)
        pieces = zip(*(rest for _, *rest in divided), strict=True)
        starts = (np.cumsum(counts) - counts).tolist()
        return [
            _Block(*_merge.remote(shared, start, *of_range))
            for start, of_range in zip(starts, pieces, strict=True)
        ]


def _packed(rows: pa.Table) -> pa.Buffer:
    """Rows as a stream of Arrow: of a slice, that has its rows only."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_table(rows)
    return out.getvalue()


def _unpacked(*pieces: pa.Buffer) -> pa.Table:
    return pa.concat_tables([pa.ipc.open_stream(piece).read_all() for piece in pieces])


def _run(
    query: str, tables: Mapping[str, pa.Table], settings: DuckDB, number: int = 0, ranges: int = 1
) -> pa.Table:
    """The rows of a query of tables by their names, for a range."""
    limit_retained_memory()
    with temporary_database(settings) as connection:
        define_range(connection, number, ranges)
        for name, rows in tables.items():
            connection.register(name, rows)
        return connection.sql(query).to_arrow_table()


@ray.remote(num_returns=2)
def _scan(
    shared: tuple[TableVersion, dict[str, str], str | None], ids: list[int]
) -> tuple[int, pa.Buffer]:
    source, columns, where = shared
    limit_retained_memory()
    dataset = source.open()
    fragments = [dataset.get_fragment(i) for i in ids]
    rows = dataset.scanner(columns=columns, filter=where, fragments=fragments).to_table()
    return rows.num_rows, _packed(rows)


@ray.remote
def _divide(shared: tuple[tuple[str, ...], int, DuckDB], block: pa.Buffer) -> list[pa.Buffer]:
    """The rows of each range: those of which any of some columns has a hash in it."""
    columns, ranges, settings = shared
    rows = _unpacked(block)
    hashes = ", ".join(f'(hash("{c}") % {ranges})::BIGINT AS "{c}"' for c in columns)
    of_row = _run(f"SELECT {hashes} FROM rows", {"rows": rows}, settings)
    by_column = [_by_range(of_row[column].to_numpy(), ranges) for column in columns]
    return [
        _packed(rows.take(np.unique(np.concatenate(of)))) for of in zip(*by_column, strict=True)
    ]


def _by_range(ranges: np.ndarray, count: int) -> list[np.ndarray]:
    """The numbers of the rows in each range."""
    order = np.argsort(ranges, kind="stable")
    return np.split(order, np.searchsorted(ranges[order], np.arange(1, count)))


@ray.remote(num_returns=2)
def _query(
    shared: tuple[str, dict[str, int], dict[str, pa.Table], int, DuckDB],
    number: int,
    *pieces: pa.Buffer,
) -> tuple[int, pa.Buffer]:
    query, counts, tables, ranges, settings = shared
    left = iter(pieces)
    divided = {n: _unpacked(*(next(left) for _ in range(c))) for n, c in counts.items()}
    made = _run(query, tables | divided, settings, number, ranges)
    return made.num_rows, _packed(made)


@ray.remote
def _select(shared: tuple[str, str, dict[str, pa.Table], DuckDB], block: pa.Buffer) -> pa.Table:
    query, name, others, settings = shared
    return _run(query, others | {name: _unpacked(block)}, settings)


@ray.remote
def _apply(function: Callable[[pa.Table], Any], block: pa.Buffer) -> Any:
    limit_retained_memory()
    return function(_unpacked(block))


_Order = tuple[list[str], pa.Table, str, DuckDB]


@ray.remote
def _divide_by_order(shared: _Order, block: pa.Buffer) -> list[Any]:
    """The numbers of rows between some limits, and these rows."""
    order, limits, _, settings = shared
    rows = _unpacked(block)
    query = f"""
    SELECT row, range FROM (
      SELECT row, sum(is_limit) OVER (
        ORDER BY {quoted(order)}, is_limit DESC ROWS UNBOUNDED PRECEDING
      )::BIGINT AS range, is_limit FROM (
        SELECT {quoted(order)}, row_number() OVER () - 1 AS row, 0 AS is_limit FROM rows
        UNION ALL SELECT *, NULL, 1 FROM limits
      )
    ) WHERE is_limit = 0 ORDER BY row
    """
    of_row = _run(query, {"rows": rows, "limits": limits}, settings)
    by_range = _by_range(of_row["range"].to_numpy(), 1 + limits.num_rows)
    return [np.array([len(of) for of in by_range]), *(_packed(rows.take(of)) for of in by_range)]


@ray.remote(num_returns=2)
def _merge(shared: _Order, first_row: int, *pieces: pa.Buffer) -> tuple[int, pa.Buffer]:
    order, _, query, settings = shared
    ordered = f"WITH ordered AS (FROM rows ORDER BY {quoted(order)})"
    start = pa.table({"first_row": [first_row]})
    made = _run(f"{ordered} {query}", {"rows": _unpacked(*pieces), "start": start}, settings)
    return made.num_rows, _packed(made)
