"""Features: the output of frozen encoders for towers with a learned projection.

Features are stored, so that a new projection costs one matrix product and no model runs again.
"""

import pyarrow as pa

from embedders.pool.one_process import EncodingProcess
from embedders.registry import load_encoder
from embedders.spaces import Space
from pipelines.engine.encoding import vector_rows
from pipelines.engine.progress import show_progress
from pipelines.vectors.encode_parts import encode_parts
from pipelines.vectors.pending_parts import pending_parts
from pipelines.vectors.staging_writer import StagingWriter
from store import identity
from store.arrow import as_matrix
from store.tables import schema
from store.tables.lance_tables import quote
from store.tables.names import features_table, vectors_table
from store.tables.staging import Entry, StageRun, begin
from store.workspace import Workspace

_ROWS = 4096  # that are read and projected at a time


def source(space: Space, modality: str) -> tuple[str, str]:
    """Where the output of a tower's encoder is stored, before any projection.

    Returns:
        The table, and the encoder as in the configuration of a space.
    """
    if modality in space.aligned:
        return features_table(space.name, modality), space.aligned[modality].encoder
    return vectors_table(space.name), space.towers[modality]


def extract(
    workspace: Workspace,
    drop: str,
    space: Space,
    modality: str,
    process: EncodingProcess | None = None,
) -> list[Entry]:
    """Make the missing features of a drop; for a tower without a projection, its vectors.

    Returns:
        The parts that failed. They are tried again each time.

    Raises:
        EncoderError, InvariantError: as `encode_parts`.
    """
    table, spec = source(space, modality)
    encoder = load_encoder(spec)
    columns = schema.vectors(encoder.dim)
    key = identity.run_key("features", table, drop, encoder.fingerprint)
    with begin(workspace.tables, table, key, columns, drop) as run:
        encode_parts(workspace, run, drop, table, spec, modality, process)
        workspace.tables.upsert(
            table, columns, run.batches(rows=_ROWS), "part_id", other_width=True
        )
        failed = list(run.entries())
        run.close()
    return failed


def project(
    workspace: Workspace,
    run: StageRun,
    drop: str,
    space: Space,
    modality: str,
    process: EncodingProcess | None = None,
) -> tuple[int, int]:
    """Stage the vectors of an aligned tower: the drop's features, projected into the space.

    Missing features are made first.

    Args:
        run: the staging of the drop's vectors.
        process: as in `encode_parts`.

    Returns:
        How many parts pass the prefilter, and how many of them have a vector now.

    Raises:
        NotAlignedError: the tower has no projection yet.
        EncoderError, InvariantError: as `encode_parts`.
    """
    encoder = load_encoder(space.towers[modality])
    projection = encoder.projection  # type: ignore[attr-defined]
    recorded = {entry.id for entry in run.entries()}
    failed = [e for e in extract(workspace, drop, space, modality, process) if e.id not in recorded]
    with StagingWriter(run) as writer:
        if failed:
            no_rows = pa.RecordBatch.from_pylist([], schema=run.schema)
            writer.add(f"{modality}-failed", no_rows, failed)
    table, spec = source(space, modality)
    features = workspace.tables.open(table).scanner(
        columns=["part_id", "vector"],
        filter=f"encoder = {quote(load_encoder(spec).fingerprint)}",
        batch_size=_ROWS,
    )
    name = vectors_table(space.name)
    with (
        pending_parts(workspace, run, drop, name, modality, encoder.fingerprint) as parts,
        StagingWriter(run) as writer,
        show_progress(run, parts.left, f"projections, {modality}", lambda: writer.parts),
    ):
        for batch in parts.with_features(features.to_reader(), _ROWS):
            ids = batch["part_id"].to_pylist()
            vectors = projection(as_matrix(batch["vector"]))
            unit = f"{modality}-{identity.run_key(ids)[:16]}"
            writer.add(unit, vector_rows(ids, vectors, encoder, run.schema), [])
        return parts.total, parts.kept + writer.kept
