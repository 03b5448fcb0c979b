"""Read the vectors of samples, by modality, into files: what steps of a policy compare.

Each modality is corrected by itself: its mean, which all of its vectors share and which lies far
from that of other modalities, is subtracted, and the rows are scaled to unit length again
(`centered` of the corrections).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import lance
import numpy as np
import pyarrow as pa

from embedders.corpus_space import corpus_space
from pipelines.engine.array_files import ArrayFile
from pipelines.engine.duckdb_scratch import ROWS, database, execute, query_value
from pipelines.policy.column_files import Columns
from pipelines.policy.identity_order import Ids
from pipelines.policy.signal_columns import take_rows
from store.arrays import is_unit_length
from store.arrow import as_matrix
from store.errors import InputError, NotFoundError
from store.identity import unpack_ids
from store.tables import table_version
from store.tables.lance_tables import quote
from store.tables.names import vectors_table
from store.tables.schema import MODALITIES
from store.workspace import Workspace

_WANTED = pa.schema([("drop", pa.string()), ("id", pa.string()), ("row", pa.int64())])
_BLOCK = 1 << 16  # rows of which ids are read at a time
_SHORTEST = 1e-4  # centred rows below it are rounding errors: all vectors are equal


def check_vectors(workspace: Workspace) -> None:
    """Raise NotFoundError if the corpus has no vectors in its space yet."""
    space = workspace.config.space
    if not workspace.tables.exists(vectors_table(space)):
        raise NotFoundError(
            f"the policy compares vectors, but there are no vectors in the space {space!r} yet;"
            " `isotrope run` makes them"
        )


def sample_blocks(samples: Columns, ids: Ids, rows: np.ndarray) -> Iterator[pa.Table]:
    """The drops and ids of some rows of samples, as `read_vectors` takes them.

    Args:
        samples: of which a column is `drop`.
        ids: the packed ids of given rows.
        rows: (n,) their numbers.
    """
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        names = take_rows(samples["drop"], block).cast(pa.string())
        yield pa.table({"drop": names, "id": unpack_ids(ids(block))})


def read_vectors(
    workspace: Workspace, samples: Iterable[pa.Table], modalities: tuple[str, ...], folder: Path
) -> tuple[dict[str, ArrayFile], np.ndarray]:
    """Read the vectors of some samples in the corpus's space.

    Args:
        workspace: the corpus.
        samples: blocks of their drops and ids.
        modalities: to read; none: all of the space.
        folder: of the files, and of a database that joins samples with their vectors.

    Returns:
        By modality (n, d) float32, centred unit rows. They are zero where a sample has no vector of
        the current encoder, or a broken one. And (n,) bool, which samples have a vector at all.

    Raises:
        InputError: the space has no tower of a modality.
    """
    space = corpus_space(workspace)
    table = workspace.tables.open(vectors_table(workspace.config.space))
    unknown = [m for m in modalities if m not in space.towers]
    if unknown:
        raise InputError(
            f"policy: modalities: the space {space.name!r} has no tower of {unknown[0]};"
            f" it has: {', '.join(sorted(space.towers))}"
        )
    names = [m for m in MODALITIES if m in (modalities or space.towers)]
    columns = {n: n for n in ("drop", "id", *(f"{m}_id" for m in names))}
    stored = workspace.tables.open("samples").scanner(columns=columns, batch_size=ROWS)
    vectors: dict[str, ArrayFile] = {}
    with database(folder, workspace.config.engine.duckdb) as connection:
        execute(connection, "CREATE TABLE wanted AS FROM stream", stream=_numbered(samples))
        count = query_value(connection, "SELECT count(*) FROM wanted")
        parts = ", ".join(f"{m}_id" for m in names)
        execute(
            connection,
            f"CREATE TABLE parts AS SELECT wanted.row, {parts} FROM wanted JOIN stored"
            ' USING ("drop", id)',
            stored=stored.to_reader(),
        )
        has_any = np.zeros(count, bool)
        for modality in names:
            of_modality = table.scanner(
                columns={"part_id": "part_id", "vector_row": "_rowid"},
                filter=f"modality = {quote(modality)}"
                f" AND encoder = {quote(space.fingerprint(modality))}",
                batch_size=ROWS,
            )
            where = (
                f"CREATE OR REPLACE TABLE located AS SELECT parts.row, vector_row FROM parts"
                f" JOIN vectors ON part_id = {modality}_id"
            )
            execute(connection, where, vectors=of_modality.to_reader())
            shape = count, table.schema.field("vector").type.list_size
            rows = ArrayFile(folder / f"{modality}_vectors", shape, np.float32)
            is_present = _fill(rows, table, connection)
            _centre(rows, is_present)
            has_any |= is_present
            vectors[modality] = rows
    return vectors, has_any


def _numbered(samples: Iterable[pa.Table]) -> pa.RecordBatchReader:
    """The samples with their numbers."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for block in samples:
            numbers = pa.array(np.arange(start, start + block.num_rows))
            start += block.num_rows
            yield from block.append_column("row", numbers).cast(_WANTED).to_batches()

    return pa.RecordBatchReader.from_batches(_WANTED, batches())


def _fill(
    rows: ArrayFile, table: lance.LanceDataset, connection: duckdb.DuckDBPyConnection
) -> np.ndarray:
    """Write the valid vectors of the table `located`; returns which rows they are, (n,) bool."""
    is_present = np.zeros(len(rows), bool)
    located = connection.sql("FROM located ORDER BY vector_row")
    for batch in located.to_arrow_reader(ROWS):
        taken = table_version.take_rows(table, batch["vector_row"].to_pylist(), ["vector"])
        vectors = as_matrix(taken["vector"])
        valid = is_unit_length(vectors)
        numbers = batch["row"].to_numpy()[valid]
        rows[numbers] = vectors[valid]
        is_present[numbers] = True
    return is_present


def _centre(rows: ArrayFile, is_present: np.ndarray) -> None:
    """Subtract the mean of the rows that are present, and scale these to unit length."""
    blocks = [slice(start, min(start + ROWS, len(rows))) for start in range(0, len(rows), ROWS)]
    total = sum(
        (rows[block].sum(axis=0, dtype=np.float64) for block in blocks), np.zeros(rows.shape[1])
    )
    mean = (total / max(int(is_present.sum()), 1)).astype(np.float32)
    for block in blocks:
        moved = rows[block] - mean
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        keep = is_present[block, None] & (length > _SHORTEST)
        rows[block] = np.where(keep, moved / np.maximum(length, _SHORTEST), 0)
