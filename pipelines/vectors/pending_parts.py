"""Which parts of a drop an encoder has still to embed.

Joins and orders what may be more rows than memory holds, so DuckDB does it: rows stream in from
Lance, out of the joins into a file beside the staging, and from there, in order, to the pool.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import duckdb
import pyarrow as pa

from pipelines.engine.duckdb_scratch import ROWS, database, execute, value
from pipelines.policy.row_rules import passes, prefilter
from store.tables.columns import differ_in_width
from store.tables.lance_tables import Tables, quote
from store.tables.staging import StageRun
from store.workspace import Workspace

_BYTES = {"image": "image_bytes", "text": "NULL", "audio": "audio_bytes"}
_PART = pa.schema([pa.field("part_id", pa.string())])
_PASSED = pa.schema([pa.field("id", pa.string()), pa.field("chars", pa.int32())])

_PARTS = """
CREATE TABLE parts AS
SELECT part_id, row, source, key, coalesce(bytes, chars, 0) AS bytes
FROM samples JOIN passed USING (id)
QUALIFY row_number() OVER (PARTITION BY part_id ORDER BY source, key) = 1
"""
_KEPT = """
CREATE TABLE kept AS
SELECT part_id FROM parts
SEMI JOIN (FROM embedded UNION ALL FROM staged) USING (part_id)
ANTI JOIN failed USING (part_id)
"""
_LEFT = "FROM parts ANTI JOIN kept USING (part_id) ANTI JOIN failed USING (part_id)"
_COUNTED = ("FROM parts", "FROM kept", _LEFT)


@dataclass(frozen=True)
class PendingParts:
    """The drop's parts that pass the prefilter, each once: how many there are, how many of them
    have their vector, and how many are left after those and the ones that failed."""

    total: int
    kept: int
    left: int
    _connection: duckdb.DuckDBPyConnection

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """(part_id, row, source, key, bytes) of those that are left, in the order of `samples`.

        `row` is the row id of one of the part's samples, and `source` and `key` are that one's.
        """
        found = self._connection.sql(f"SELECT * {_LEFT} ORDER BY row")
        yield from found.to_arrow_reader(rows)

    def among(self, vectors: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
        """(part_id, vector) of those that are left and have a vector in `vectors`."""
        self._connection.register("vectors", vectors)
        left = f"(SELECT part_id {_LEFT})"
        found = self._connection.sql(
            f"SELECT part_id, vector FROM vectors SEMI JOIN {left} USING (part_id)"
        )
        yield from found.to_arrow_reader(rows)
        self._connection.unregister("vectors")


@contextmanager
def pending_parts(
    workspace: Workspace, run: StageRun, drop: str, table: str, modality: str, encoder: str
) -> Iterator[PendingParts]:
    """What `run` has to fill `table` with.

    Args:
        encoder: its fingerprint; vectors of another are as good as missing.
    """
    tables = workspace.tables
    with database(run.folder) as connection:
        samples, passed = _samples(tables, drop, modality), _passed(workspace, drop)
        execute(connection, _PARTS, samples=samples, passed=passed)
        execute(connection, "CREATE TABLE failed AS FROM ledger", ledger=_failed(run))
        embedded = _embedded(tables, table, run.schema, encoder)
        execute(connection, _KEPT, embedded=embedded, staged=run.scan(["part_id"]))
        total, kept, left = (value(connection, f"SELECT count(*) {q}") for q in _COUNTED)
        yield PendingParts(total, kept, left, connection)


def _samples(tables: Tables, drop: str, modality: str) -> pa.RecordBatchReader:
    part = f"{modality}_id"
    columns = {"id": "id", "part_id": part, "source": "source", "key": "key"}
    columns |= {"bytes": f"CAST({_BYTES[modality]} AS BIGINT)", "row": "_rowid"}
    where = f"drop = {quote(drop)} AND {part} IS NOT NULL"
    return (
        tables.open("samples").scanner(columns=columns, filter=where, batch_size=ROWS).to_reader()
    )


def _passed(workspace: Workspace, drop: str) -> pa.RecordBatchReader:
    tests, here = prefilter(workspace.config.policy), f"drop = {quote(drop)}"
    columns = list(dict.fromkeys(["id", "text_chars", *(test.signal for test in tests)]))
    signals = workspace.tables.open("signals").scanner(
        columns=columns, filter=here, batch_size=ROWS
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in signals.to_batches():
            kept = batch.select(["id", "text_chars"]).filter(pa.array(passes(tests, batch)))
            yield pa.RecordBatch.from_arrays(kept.columns, schema=_PASSED)

    return pa.RecordBatchReader.from_batches(_PASSED, batches())


def _embedded(tables: Tables, table: str, columns: pa.Schema, encoder: str) -> pa.RecordBatchReader:
    if not tables.exists(table) or differ_in_width(tables.open(table).schema, columns):
        return _PART.empty_table().to_reader()
    here = f"encoder = {quote(encoder)}"
    return tables.open(table).scanner(columns=["part_id"], filter=here).to_reader()


def _failed(run: StageRun) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        entries = run.entries()
        while some := [entry.id for entry in islice(entries, ROWS)]:
            yield pa.record_batch([pa.array(some, pa.string())], schema=_PART)

    return pa.RecordBatchReader.from_batches(_PART, batches())
