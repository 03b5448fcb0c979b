"""Finds the parts of a drop that an encoder has not embedded yet.

There may be more rows than memory holds, so DuckDB joins and orders them. Rows are streamed from
Lance into a database file beside the staging, and from there, in order, to the pool.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import duckdb
import pyarrow as pa

from pipelines.engine.duckdb_scratch import ROWS, create_by_range, database, execute, query_value
from pipelines.policy.row_rules import passes, prefilter
from pipelines.vectors.chosen_samples import load_chosen
from store.tables.columns import differ_in_width
from store.tables.lance_tables import Tables, quote
from store.tables.staging import StageRun
from store.workspace import Workspace

_BYTES = {"image": "image_bytes", "text": "NULL", "audio": "audio_bytes"}
_PART = pa.schema([pa.field("part_id", pa.string())])
_PASSED = pa.schema([pa.field("id", pa.string()), pa.field("chars", pa.int32())])

_JOINED = """
SELECT part_id, row, source, key, coalesce(bytes, chars, 0) AS bytes
FROM (FROM samples WHERE in_range(id)) JOIN (FROM passed WHERE in_range(id)) USING (id) {chosen}
"""
_PARTS = """
FROM joined WHERE in_range(part_id)
QUALIFY row_number() OVER (PARTITION BY part_id ORDER BY source, key) = 1
"""
_KEPT = """
SELECT part_id FROM (SELECT part_id FROM parts WHERE in_range(part_id))
SEMI JOIN (FROM embedded WHERE in_range(part_id)) USING (part_id)
ANTI JOIN failed USING (part_id)
"""
_PENDING = """
FROM (FROM parts WHERE in_range(part_id))
ANTI JOIN (FROM kept WHERE in_range(part_id)) USING (part_id) ANTI JOIN failed USING (part_id)
"""


@dataclass(frozen=True)
class PendingParts:
    """The parts of a drop that pass the prefilter and, in a space with `only_for`, were chosen.

    A part that several samples share counts once.

    Attributes:
        total: the number of these parts.
        kept: how many of them have a vector, in the table or in staging.
        left: how many have neither a vector nor failed. These are the pending parts.
    """

    total: int
    kept: int
    left: int
    _connection: duckdb.DuckDBPyConnection

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The pending parts in the order of `samples`.

        Args:
            rows: of a batch.

        Yields:
            Batches (part_id, row, source, key, bytes). `row` is the row id of one sample that has
            the part; `source` and `key` are those of that sample.
        """
        ordered = self._connection.sql("FROM pending ORDER BY row")
        yield from ordered.to_arrow_reader(rows)

    def with_features(self, features: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
        """The pending parts that have a vector in `features`.

        Args:
            features: a stream (part_id, vector).
            rows: of a batch.

        Yields:
            Batches (part_id, vector).
        """
        self._connection.register("features", features)
        joined = self._connection.sql(
            "SELECT part_id, vector FROM features SEMI JOIN pending USING (part_id)"
        )
        yield from joined.to_arrow_reader(rows)
        self._connection.unregister("features")


@contextmanager
def pending_parts(
    workspace: Workspace, run: StageRun, drop: str, table: str, modality: str, encoder: str
) -> Iterator[PendingParts]:
    """Find the parts of a drop for which `table` has no vector of this encoder.

    Args:
        run: the staging; parts that it has, or that failed in it, are not pending.
        table: of vectors.
        encoder: the fingerprint. Vectors of another encoder do not count.
    """
    tables = workspace.tables
    with database(run.scratch, workspace.config.engine.duckdb) as connection:
        chosen = load_chosen(connection, workspace, drop)
        streams = {
            "samples": _samples(tables, drop, modality),
            "passed": _passed(workspace, drop),
            "failed": _failed(run),
            "embedded": _embedded(tables, table, run.schema, encoder),
        }
        for name, stream in streams.items():
            execute(connection, f"CREATE TABLE {name} AS FROM stream", stream=stream)
        execute(connection, "INSERT INTO embedded FROM stream", stream=run.scan(["part_id"]))
        joined = _JOINED.format(chosen=chosen)
        create_by_range(connection, "joined", joined, "samples", "passed")
        create_by_range(connection, "parts", _PARTS, "joined")
        create_by_range(connection, "kept", _KEPT, "parts", "embedded")
        create_by_range(connection, "pending", _PENDING, "parts")
        total, kept, left = (
            query_value(connection, f"SELECT count(*) FROM {name}")
            for name in ("parts", "kept", "pending")
        )
        yield PendingParts(total, kept, left, connection)


def _samples(tables: Tables, drop: str, modality: str) -> pa.RecordBatchReader:
    """The samples of the drop that have the part: (id, part_id, source, key, bytes, row)."""
    part = f"{modality}_id"
    columns = {"id": "id", "part_id": part, "source": "source", "key": "key"}
    columns |= {"bytes": f"CAST({_BYTES[modality]} AS BIGINT)", "row": "_rowid"}
    where = f"drop = {quote(drop)} AND {part} IS NOT NULL"
    scanner = tables.open("samples").scanner(columns=columns, filter=where, batch_size=ROWS)
    return scanner.to_reader()


def _passed(workspace: Workspace, drop: str) -> pa.RecordBatchReader:
    """The samples of the drop that pass the prefilter: (id, chars)."""
    tests = prefilter(workspace.config.policy)
    columns = list(dict.fromkeys(["id", "text_chars", *(test.signal for test in tests)]))
    signals = workspace.tables.open("signals").scanner(
        columns=columns, filter=f"drop = {quote(drop)}", batch_size=ROWS
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in signals.to_batches():
            passed = batch.select(["id", "text_chars"]).filter(pa.array(passes(tests, batch)))
            yield pa.RecordBatch.from_arrays(passed.columns, schema=_PASSED)

    return pa.RecordBatchReader.from_batches(_PASSED, batches())


def _embedded(tables: Tables, table: str, columns: pa.Schema, encoder: str) -> pa.RecordBatchReader:
    """The parts that have a vector of the encoder; none if the table has another width."""
    dataset = tables.open_or_none(table)
    if dataset is None or differ_in_width(dataset.schema, columns):
        return _PART.empty_table().to_reader()
    where = f"encoder = {quote(encoder)}"
    return dataset.scanner(columns=["part_id"], filter=where).to_reader()


def _failed(run: StageRun) -> pa.RecordBatchReader:
    """The parts that failed in this run."""

    def batches() -> Iterator[pa.RecordBatch]:
        entries = run.entries()
        while parts := [entry.id for entry in islice(entries, ROWS)]:
            yield pa.record_batch([pa.array(parts, pa.string())], schema=_PART)

    return pa.RecordBatchReader.from_batches(_PART, batches())
