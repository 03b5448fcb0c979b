"""Read columns of all samples into files, of which there may be more than memory holds."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.engine.duckdb_scratch import (
    ROWS,
    create_by_range,
    database,
    execute,
    load_table,
    stream_columns,
)
from pipelines.policy.column_files import ColumnFiles
from pipelines.policy.signal_columns import joined_columns
from store.identity import PACKED, pack_ids
from store.tables import schema
from store.tables.signals import REPAIR_TYPES
from store.workspace import Workspace

_KEY = ("drop", "id")
_JOINED = """
SELECT numbered.*, other.* EXCLUDE ("drop", id)
FROM (FROM numbered WHERE in_range(id)) numbered
LEFT JOIN (FROM {name} WHERE in_range(id)) other USING ("drop", id)
"""


def in_files(workspace: Workspace, folder: Path, columns: Sequence[str]) -> ColumnFiles:
    """As `signal_columns.packed`, with the columns in files. `id` is always read.

    Args:
        workspace: the corpus.
        folder: of the files, and of a database that joins columns of several tables.
        columns: as `packed` takes them.
    """
    names = list(dict.fromkeys([*_KEY, *columns]))
    own = [c for c in names if c in schema.SIGNALS.names]
    joined = joined_columns(workspace, names)
    fields = {f.name: f for other in (schema.SAMPLES, schema.PAIRS) for f in other}
    kept = pa.schema(
        [
            pa.field("id", PACKED) if n == "id" else fields.get(n) or schema.SIGNALS.field(n)
            for n in names
        ]
    )
    plain = [n for n in names if n in REPAIR_TYPES or n == "text"]

    def packed_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids = pack_ids(batch["id"])
            arrays = [ids if n == "id" else batch[n].cast(kept.field(n).type) for n in names]
            yield pa.RecordBatch.from_arrays(arrays, schema=kept)

    own_batches = stream_columns(
        workspace.tables, "signals", schema.SIGNALS, own, fragment_readahead=1
    )
    if not joined:
        return ColumnFiles(folder / "columns", packed_batches(own_batches), kept, plain)
    with database(folder, workspace.config.engine.duckdb) as connection:
        _load_numbered(connection, own_batches, own)
        for name, (columns_schema, theirs) in joined.items():
            load_table(connection, workspace, name, columns_schema, [*_KEY, *theirs])
            query = _JOINED.format(name=name)
            create_by_range(connection, "numbered", query, "numbered", name)
            connection.execute(f"DROP TABLE {name}")
        selected = ", ".join(f'"{n}"' for n in names)
        ordered = connection.sql(f"SELECT {selected} FROM numbered ORDER BY number")
        batches = ordered.to_arrow_reader(ROWS)
        return ColumnFiles(folder / "columns", packed_batches(batches), kept, plain)


def _load_numbered(
    connection: duckdb.DuckDBPyConnection, batches: Iterable[pa.RecordBatch], columns: list[str]
) -> None:
    """Make the table `numbered`: rows in their order, with a `number`."""
    fields = pa.schema([("number", pa.int64()), *(schema.SIGNALS.field(c) for c in columns)])

    def numbered() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in batches:
            numbers = pa.array(np.arange(start, start + batch.num_rows))
            start += batch.num_rows
            yield pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=fields)

    stream = pa.RecordBatchReader.from_batches(fields, numbered())
    execute(connection, "CREATE TABLE numbered AS FROM stream", stream=stream)
