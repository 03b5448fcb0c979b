"""What is known of every sample: its signals, those of its pairs, where it came from.

Made for tens of millions of rows: columns are streamed in, and text that repeats is kept once.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.corrections.kernels.threads import workers
from store.identity import pack, unpack
from store.tables import damage, schema
from store.tables.columns import missing, with_nulls
from store.tables.lance_tables import Tables
from store.tables.names import pairs_table
from store.workspace import Workspace

_KEY = ("drop", "id")
_ROWS = 1 << 16  # of a batch


def measured(workspace: Workspace, columns: Sequence[str]) -> pa.Table:
    """`drop`, `id` and the asked columns, a row a sample, in the order of `signals`.

    Columns are those of `signals`, `schema.PAIR_TYPES` of the corpus's space, and the samples'
    `source`; null where there is no row. Text but for `id` is dictionary-encoded.
    """
    found = packed(workspace, ["id", *columns])
    ids = pa.chunked_array([unpack(chunk) for chunk in found["id"].chunks], pa.string())
    return found.set_column(1, "id", ids)


def packed(workspace: Workspace, columns: Sequence[str]) -> pa.Table:
    """The same for tens of millions of rows: `id` only if it is asked for, and as
    `store.identity.pack` makes it."""
    asked = [c for c in dict.fromkeys(columns) if c != "drop"]
    own = [c for c in asked if c in schema.SIGNALS.names]
    others = {pairs_table(workspace.config.space): schema.PAIRS, "samples": schema.SAMPLES}
    joined = {
        name: wanted
        for name, known in others.items()
        if (wanted := [c for c in asked if c not in own and c in known.names])
    }
    keys = _KEY if joined or "id" in asked else ("drop",)
    own = list(dict.fromkeys([*keys, *own]))
    table = _scan(workspace.tables, "signals", schema.SIGNALS, own)
    for name, wanted in joined.items():
        other = _scan(workspace.tables, name, others[name], [*_KEY, *wanted])
        place = _places(table, other)
        for column in wanted:
            table = table.append_column(column, other[column].combine_chunks().take(place))
    return table.select(["drop", *asked])


def at(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    """The values at some rows; cheap where these lie near to each other."""
    if not len(rows):
        return pa.array([], column.type)
    first = rows.min()
    near = column.slice(first, rows.max() - first + 1).combine_chunks()
    return near.take(pa.array(rows - first))


def _scan(tables: Tables, name: str, known: pa.Schema, wanted: list[str]) -> pa.Table:
    fields = pa.schema([known.field(c) for c in wanted])
    none = _coded(pa.RecordBatch.from_pylist([], schema=fields))
    dataset = tables.open(name) if tables.exists(name) else None
    if dataset is None:
        return pa.Table.from_batches([none])
    absent = missing(name, dataset.schema, known, wanted)
    present = [c for c in wanted if c not in {field.name for field in absent}]

    def read(fragment: lance.LanceFragment) -> list[pa.RecordBatch]:
        with damage.detected(dataset.uri, dataset.version):
            return [
                _coded(with_nulls(batch, known, wanted))
                for batch in fragment.scanner(columns=present, batch_size=_ROWS).to_batches()
            ]

    with ThreadPoolExecutor(workers()) as pool:
        parts = chain.from_iterable(pool.map(read, dataset.get_fragments()))
        return pa.Table.from_batches([none, *parts]).unify_dictionaries()


def _coded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """As `packed` gives it, and all of it copied: one column would keep a whole batch in memory."""
    columns: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == "id":
            columns[name] = pack(column)
        elif schema.is_text(column.type):
            columns[name] = column.dictionary_encode()
        else:
            columns[name] = pa.concat_arrays([column, column.slice(0, 0)])
    return pa.RecordBatch.from_pydict(columns)


def _places(rows: pa.Table, other: pa.Table) -> pa.Array:
    """For each of `rows` the row of `other` with its drop and id; null where there is none.

    Drop by drop, so that what is searched is no larger than one.
    """
    if all(rows[c].equals(other[c]) for c in _KEY):
        return pa.array(np.arange(rows.num_rows))
    found, theirs = np.full(rows.num_rows, -1, np.int64), _by_drop(other)
    for drop, mine in _by_drop(rows).items():
        if drop in theirs:
            there = _some(other["id"], theirs[drop]).combine_chunks()
            place = pc.fill_null(pc.index_in(_some(rows["id"], mine), value_set=there), -1)
            place = place.to_numpy()
            found[mine] = np.where(place < 0, -1, theirs[drop][place])
    return pa.array(found, mask=found < 0)


def _by_drop(table: pa.Table) -> dict[str, np.ndarray]:
    """The rows of each drop."""
    drops = table["drop"].combine_chunks()
    codes = drops.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(drops.dictionary)))
    return dict(zip(drops.dictionary.to_pylist(), np.split(order, ends)[:-1], strict=True))


def _some(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return column.slice(rows[0], len(rows))
    return column.take(pa.array(rows))
