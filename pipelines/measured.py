"""What is known of every sample: its signals, those of its pairs, where it came from.

Made for tens of millions of rows: columns are streamed in, and text that repeats is kept once.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import schema
from store.tables import Tables
from store.workspace import Workspace

_KEY = ("drop", "id")
_ROWS = 1 << 17
_AHEAD = 4  # batches that Lance may decode ahead
_PACKED = 8  # batches that are copied into one, which lets go of what Lance decoded them into


def measured(workspace: Workspace, columns: Sequence[str]) -> pa.Table:
    """`drop`, `id` and the asked columns, a row a sample, in the order of `signals`.

    Columns are those of `signals`, `schema.PAIR_TYPES` of the corpus's space, and the samples'
    `source`; null where there is no row. Text but for `id` is dictionary-encoded.
    """
    asked = [c for c in dict.fromkeys(columns) if c not in _KEY]
    own = [c for c in asked if c in schema.SIGNALS.names]
    table = _scan(workspace.tables, "signals", schema.SIGNALS, own)
    others = {pairs_table(workspace): schema.PAIRS, "samples": schema.SAMPLES}
    for name, known in others.items():
        wanted = [c for c in asked if c not in own and c in known.names]
        if wanted:
            other = _scan(workspace.tables, name, known, wanted)
            place = _places(table, other)
            for column in wanted:
                table = table.append_column(column, other[column].combine_chunks().take(place))
    return table.select([*_KEY, *asked])


def pairs_table(workspace: Workspace) -> str:
    """The table of the pairs' signals, in the corpus's space."""
    return f"pairs__{workspace.config.space}"


def at(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    """The values at some rows; cheap where these lie near to each other."""
    if not len(rows):
        return pa.array([], column.type)
    first = rows.min()
    near = column.slice(first, rows.max() - first + 1).combine_chunks()
    return near.take(pa.array(rows - first))


def _scan(tables: Tables, name: str, known: pa.Schema, columns: list[str]) -> pa.Table:
    wanted = [*_KEY, *columns]
    types = {c: known.field(c).type for c in wanted}
    coded = {c: pa.dictionary(pa.int32(), t) if _repeats(c, t) else t for c, t in types.items()}
    parts = [pa.schema(list(coded.items())).empty_table()]
    if tables.exists(name) and set(wanted) <= set(tables.open(name).schema.names):
        scanner = tables.open(name).scanner(
            columns=wanted, batch_size=_ROWS, batch_readahead=_AHEAD
        )
        batches = iter(scanner.to_batches())
        while some := list(islice(batches, _PACKED)):
            packed = pa.Table.from_batches([_coded(batch) for batch in some])
            parts.append(packed.unify_dictionaries().combine_chunks())
    return pa.concat_tables(parts).unify_dictionaries()


def _coded(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = {
        field.name: column.dictionary_encode() if _repeats(field.name, field.type) else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    }
    return pa.record_batch(columns)


def _repeats(name: str, kind: pa.DataType) -> bool:
    return schema.is_text(kind) and name != "id"


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
