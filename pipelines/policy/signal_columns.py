"""Read columns of all samples: their signals, the signals of their pairs, and their source.

Made for tens of millions of rows: fragments are read in parallel, ids are packed into 16 bytes,
and strings are dictionary-encoded.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.cores import thread_count
from store.identity import pack_ids, unpack_ids
from store.tables import damage, schema
from store.tables.columns import missing, with_nulls
from store.tables.lance_tables import Tables
from store.tables.names import pairs_table
from store.workspace import Workspace

_KEY = ("drop", "id")
_BATCH_ROWS = 1 << 16
_SPAN = 1 << 20  # rows of a column that are copied to take some of them


def measured(workspace: Workspace, columns: Sequence[str]) -> pa.Table:
    """Columns of all samples, one row a sample, in the order of the table `signals`.

    Args:
        columns: names in `signals`, in `schema.PAIR_TYPES` (of the corpus's space), or `source` of
            `samples`.

    Returns:
        `drop`, `id` and the columns; null if a sample has no row in the table of a column. String
        columns other than `id` are dictionary-encoded.
    """
    table = packed(workspace, ["id", *columns])
    ids = pa.chunked_array([unpack_ids(chunk) for chunk in table["id"].chunks], pa.string())
    return table.set_column(1, "id", ids)


def packed(workspace: Workspace, columns: Sequence[str]) -> pa.Table:
    """As `measured`, for tens of millions of rows.

    `id` is read only if it is in `columns`, and is packed (`store.identity.pack_ids`).
    """
    names = [c for c in dict.fromkeys(columns) if c != "drop"]
    own = [c for c in names if c in schema.SIGNALS.names]
    joined = joined_columns(workspace, names)
    keys = _KEY if joined or "id" in names else ("drop",)
    own = list(dict.fromkeys([*keys, *own]))
    table = _scan(workspace.tables, "signals", schema.SIGNALS, own)
    for table_name, (columns_schema, theirs) in joined.items():
        other = _scan(workspace.tables, table_name, columns_schema, [*_KEY, *theirs])
        rows = _matching_rows(table, other)
        for column in theirs:
            table = table.append_column(column, other[column].combine_chunks().take(rows))
    return table.select(["drop", *names])


def joined_columns(
    workspace: Workspace, names: Sequence[str]
) -> dict[str, tuple[pa.Schema, list[str]]]:
    """The tables other than `signals` that have some of the columns: their schemas, and these."""
    others = {pairs_table(workspace.config.space): schema.PAIRS, "samples": schema.SAMPLES}
    names = [c for c in names if c not in schema.SIGNALS.names]
    return {
        table: (columns_schema, theirs)
        for table, columns_schema in others.items()
        if (theirs := [c for c in names if c in columns_schema.names])
    }


def take_rows(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    """The values of a column at some rows; fast if these are close to each other."""
    if not len(rows):
        return pa.array([], column.type)
    first, last = rows.min(), rows.max()
    if last - first < _SPAN:
        span = column.slice(first, last - first + 1).combine_chunks()
        return span.take(pa.array(rows - first))
    order = np.argsort(rows, kind="stable")
    cuts = np.flatnonzero(np.diff(rows[order] // _SPAN)) + 1
    parts = [take_rows(column, part) for part in np.split(rows[order], cuts)]
    return pa.concat_arrays(parts).take(pa.array(np.argsort(order)))


def _scan(tables: Tables, name: str, columns_schema: pa.Schema, columns: list[str]) -> pa.Table:
    """Columns of a table, encoded. No rows if there is no such table; nulls for lacking columns."""
    fields = pa.schema([columns_schema.field(c) for c in columns])
    empty = _encoded(pa.RecordBatch.from_pylist([], schema=fields))
    dataset = tables.open_or_none(name)
    if dataset is None:
        return pa.Table.from_batches([empty])
    absent = {f.name for f in missing(name, dataset.schema, columns_schema, columns)}
    present = [column for column in columns if column not in absent]

    def read(fragment: lance.LanceFragment) -> list[pa.RecordBatch]:
        scanner = fragment.scanner(columns=present, batch_size=_BATCH_ROWS)
        with damage.detected(dataset.uri, dataset.version):
            return [
                _encoded(with_nulls(batch, columns_schema, columns))
                for batch in scanner.to_batches()
            ]

    with ThreadPoolExecutor(thread_count()) as pool:
        batches = chain.from_iterable(pool.map(read, dataset.get_fragments()))
        return pa.Table.from_batches([empty, *batches]).unify_dictionaries()


def _encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Pack ids, encode strings and copy the rest.

    Without the copy, one column that is kept would keep the memory of the whole batch.
    """
    columns: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == "id":
            columns[name] = pack_ids(column)
        elif schema.is_text(column.type):
            columns[name] = column.dictionary_encode()
        else:
            columns[name] = pa.concat_arrays([column, column.slice(0, 0)])
    return pa.RecordBatch.from_pydict(columns)


def _matching_rows(rows: pa.Table, other: pa.Table) -> pa.Array:
    """For each row, the row of `other` with the same drop and id; null if there is none.

    It is done drop by drop, so that no hash table is larger than a drop.
    """
    if all(rows[c].equals(other[c]) for c in _KEY):
        return pa.array(np.arange(rows.num_rows))
    match, other_by_drop = np.full(rows.num_rows, -1, np.int64), rows_by_drop(other)
    for drop, drop_rows in rows_by_drop(rows).items():
        if drop in other_by_drop:
            other_ids = _slice_or_take(other["id"], other_by_drop[drop]).combine_chunks()
            ids = _slice_or_take(rows["id"], drop_rows)
            index = pc.fill_null(pc.index_in(ids, value_set=other_ids), -1).to_numpy()
            match[drop_rows] = np.where(index < 0, -1, other_by_drop[drop][index])
    return pa.array(match, mask=match < 0)


def rows_by_drop(table: pa.Table) -> dict[str, np.ndarray]:
    """The rows of each drop, ascending."""
    drops = table["drop"].combine_chunks()
    codes = drops.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(drops.dictionary)))
    return dict(zip(drops.dictionary.to_pylist(), np.split(order, ends)[:-1], strict=True))


def _slice_or_take(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """The values at ascending rows; without a copy if they follow one another."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return column.slice(rows[0], len(rows))
    return column.take(pa.array(rows))
