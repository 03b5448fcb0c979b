"""Vectors of given parts: those that are stored, and of an encoder that encodes queries only.

Such an encoder embeds no corpus. It encodes the parts that bridges are learned from and that
corrections are fitted on, once; their vectors are stored as features of its space.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.registry import load_encoder
from embedders.spaces import Space
from pipelines.engine.encoding import UNIT_PARTS, LoadParts, encoding_processes, vector_rows
from store import identity
from store.arrow import as_matrix
from store.errors import RecordError
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import features_table, vectors_table
from store.tables.table_version import TableVersion, take_rows
from store.workspace import Workspace

_ROWS_AT_ONCE = 8192  # that are written in one commit
Failures = list[tuple[str, RecordError]]


def query_vectors(
    workspace: Workspace, new: Space, modality: str, parts: list[str]
) -> tuple[np.ndarray, Failures]:
    """The vectors of parts in a space that queries are encoded in.

    Args:
        workspace: the corpus.
        new: a space under `spaces:` of corpus.yaml, whose vectors are stored, or one under
            `query_spaces:`.
        modality: of the parts.
        parts: (n,) part ids.

    Returns:
        As `encoded_vectors`. Nothing is encoded for a space under `spaces:`.

    Raises:
        EncoderError, InvariantError: as `encoded_vectors`.
        NotAlignedError: a tower of the space has no projection yet.
    """
    spec = new.towers[modality]
    if new.name in workspace.config.query_spaces:
        return encoded_vectors(workspace, new.name, modality, spec, parts)
    encoder, wanted = load_encoder(spec), pa.array(parts, pa.string())
    name = vectors_table(new.name)
    rows = stored_vectors(workspace.tables, name, encoder.fingerprint, encoder.dim, wanted)
    return rows, []


def stored_vectors(
    tables: Tables, table: str, encoder: str, dim: int, parts: pa.Array | pa.ChunkedArray
) -> np.ndarray:
    """The stored vectors of parts, before any projection that the table is not made with.

    Args:
        tables: of the corpus.
        table: of vectors or features; it may not exist.
        encoder: the fingerprint.
        dim: of its vectors.
        parts: (n,) part ids; null is missing.

    Returns:
        float32 (n, dim), NaN where there is none.
    """
    rows = np.full((len(parts), dim), np.nan, np.float32)
    if (dataset := tables.open_or_none(table)) is None:
        return rows
    stored = dataset.to_table(
        columns=["part_id"], filter=f"encoder = {quote(encoder)}", with_row_id=True
    )
    positions = pc.index_in(parts, value_set=stored["part_id"].combine_chunks())
    present = pc.is_valid(positions).to_numpy(zero_copy_only=False)
    if present.any():
        row_ids = stored["_rowid"].take(positions.drop_null()).to_numpy()
        vectors = take_rows(dataset, row_ids.tolist(), ["vector"])
        rows[present] = as_matrix(vectors["vector"])
    return rows


def encoded_vectors(
    workspace: Workspace, space: str, modality: str, spec: str, parts: list[str]
) -> tuple[np.ndarray, Failures]:
    """The vectors of parts by an encoder of queries. Those that are not stored yet are encoded.

    Args:
        workspace: the corpus.
        space: the name of the encoder's space, under `query_spaces:` of corpus.yaml.
        modality: of the parts.
        spec: the encoder.
        parts: (n,) part ids. Those that no sample has are missing.

    Returns:
        float32 (n, d), NaN where there is none; and the parts that failed, which are tried again
        each time.

    Raises:
        EncoderError: the encoder cannot be loaded, or the cluster has no room for it.
        InvariantError: a vector is not of unit length.
    """
    tables, encoder = workspace.tables, load_encoder(spec)
    name, columns = features_table(space, modality), schema.vectors(encoder.dim)
    wanted = pa.array(parts, pa.string())
    known = stored_vectors(tables, name, encoder.fingerprint, encoder.dim, wanted)
    missing = set(wanted.filter(pa.array(np.isnan(known[:, 0]))).to_pylist())
    if not missing:
        return known, []
    failed = encode_missing(workspace, name, columns, modality, spec, missing)
    return stored_vectors(tables, name, encoder.fingerprint, encoder.dim, wanted), failed


def encode_missing(
    workspace: Workspace,
    table: str,
    columns: pa.Schema,
    modality: str,
    spec: str,
    missing: set[str],
) -> Failures:
    """Encode parts and add their vectors to a table.

    Args:
        workspace: the corpus.
        table: of vectors, by name.
        columns: its schema.
        modality: of the parts.
        spec: the encoder.
        missing: ids of parts that the table has no vector of. Those that no sample has are left
            out.

    Returns:
        The parts that failed.

    Raises:
        EncoderError, InvariantError: as `encoded_vectors`.
    """
    tables, encoder = workspace.tables, load_encoder(spec)
    failed, pending = Failures(), []
    units = _units(tables, modality, missing)
    if not units:
        return failed
    with encoding_processes(spec, len(missing), workspace.config.engine.ray, None) as processes:
        for number, result in enumerate(processes.map(iter(units)), 1):
            failed += result.failed
            pending.append(vector_rows(result.ids, result.vectors, encoder, columns))
            if sum(batch.num_rows for batch in pending) >= _ROWS_AT_ONCE or number == len(units):
                tables.upsert(table, columns, pending, "part_id", other_width=True)
                pending = []
    return failed


def _units(tables: Tables, modality: str, parts: set[str]) -> list[tuple[str, LoadParts]]:
    """Units of the parts, which are read from any sample that has them, with names."""
    samples = TableVersion(tables, "samples", tables.version("samples"))
    column = f"{modality}_id"
    row_of: dict[str, int] = {}
    wanted = pa.array(sorted(parts), pa.string())
    for batch in samples.open().to_batches(columns=[column], with_row_id=True):
        matches = batch.filter(pc.is_in(batch[column], value_set=wanted))
        row_of |= dict(zip(matches[column].to_pylist(), matches["_rowid"].to_pylist(), strict=True))
    ids = sorted(row_of)
    members = (ids[n : n + UNIT_PARTS[modality]] for n in range(0, len(ids), UNIT_PARTS[modality]))
    return [
        (
            f"{modality}-{identity.run_key(unit)[:16]}",
            LoadParts(samples, modality, tuple(unit), tuple(row_of[part] for part in unit)),
        )
        for unit in members
    ]
