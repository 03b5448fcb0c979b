"""features: what frozen encoders make of parts, where a tower's vectors are a projection of it.

They are kept, so that another projection costs a matrix product and no model runs again.
"""

import pyarrow as pa

from embedders.registry import load
from embedders.spaces import Space
from pipelines.engine.progress import watch
from pipelines.vectors.encode_parts import encode_parts, rows_of
from pipelines.vectors.pending_parts import pending_parts
from pipelines.vectors.staging_writer import StagingWriter
from store import identity
from store.tables import schema
from store.tables.lance_tables import as_matrix, quote
from store.tables.names import features_table, vectors_table
from store.tables.staging import Entry, StageRun, begin
from store.workspace import Workspace

_ROWS = 4096


def source(space: Space, modality: str) -> tuple[str, str]:
    """The table and the encoder of a tower's vectors as they are before any projection."""
    if modality in space.aligned:
        return features_table(space.name, modality), space.aligned[modality].encoder
    return vectors_table(space.name), space.towers[modality]


def extract(workspace: Workspace, drop: str, space: Space, modality: str) -> list[Entry]:
    """Make what is missing of a drop's features, or of its vectors where nothing is projected.

    Returns the parts that have none, which are tried again every time. Raises as `encode_parts`.
    """
    table, spec = source(space, modality)
    encoder = load(spec)
    columns = schema.vectors(encoder.dim)
    key = identity.run_key("features", table, drop, encoder.fingerprint)
    with begin(workspace.tables, table, key, columns, drop) as run:
        encode_parts(workspace, run, drop, table, spec, modality)
        workspace.tables.upsert(
            table, columns, run.batches(rows=_ROWS), "part_id", other_width=True
        )
        failed = list(run.entries())
        run.close()
    return failed


def project(
    workspace: Workspace, run: StageRun, drop: str, space: Space, modality: str
) -> tuple[int, int]:
    """Stage an aligned tower's vectors of a drop's parts, as `encode_parts` does.

    Raises what `encode_parts` raises, and NotAlignedError where there is no projection yet.
    """
    encoder = load(space.towers[modality])
    projection = encoder.projection  # type: ignore[attr-defined]
    known = {entry.id for entry in run.entries()}
    failed = [e for e in extract(workspace, drop, space, modality) if e.id not in known]
    with StagingWriter(run) as commits:
        if failed:
            nothing = pa.RecordBatch.from_pylist([], schema=run.schema)
            commits.add(f"{modality}-failed", nothing, failed)
    table, spec = source(space, modality)
    features = workspace.tables.open(table).scanner(
        columns=["part_id", "vector"],
        filter=f"encoder = {quote(load(spec).fingerprint)}",
        batch_size=_ROWS,
    )
    name = vectors_table(space.name)
    with (
        pending_parts(workspace, run, drop, name, modality, encoder.fingerprint) as parts,
        StagingWriter(run) as commits,
        watch(run, parts.left, f"projections, {modality}", lambda: commits.parts),
    ):
        for batch in parts.among(features.to_reader(), _ROWS):
            ids = batch["part_id"].to_pylist()
            made = projection(as_matrix(pa.chunked_array([batch["vector"]])))
            unit = f"{modality}-{identity.run_key(ids)[:16]}"
            commits.add(unit, rows_of(ids, made, encoder, run.schema), [])
        return parts.total, parts.kept + commits.kept
