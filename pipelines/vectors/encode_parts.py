"""Embeds a drop's parts with an encoder, on the Ray actor pool, and stages their vectors.

Few parts are embedded in one process without Ray, whose actors take seconds to start.

A part is embedded once, however many samples and drops have it. Results are committed to staging as
they arrive, so an interrupted run goes on after the last commit.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess
from embedders.pool.worker import UnitResult
from embedders.registry import load_encoder
from pipelines.engine.encoding import (
    UNIT_PARTS,
    LoadParts,
    encoding_processes,
    vector_rows,
)
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.progress import show_progress
from pipelines.vectors.pending_parts import PendingParts, pending_parts
from pipelines.vectors.staging_writer import StagingWriter
from store import identity
from store.tables.staging import Entry, StageRun
from store.tables.table_version import TableVersion
from store.workspace import Workspace

_UNIT_BYTES = 16 << 20  # of the parts of a unit, and of the encoder's rows for them
MakeRows = Callable[[list[str], np.ndarray, Encoder, pa.Schema], pa.RecordBatch]


def encode_parts(
    workspace: Workspace,
    run: StageRun,
    drop: str,
    table: str,
    spec: str,
    modality: str,
    process: EncodingProcess | None = None,
    make_rows: MakeRows = vector_rows,
) -> tuple[int, int]:
    """Embed and stage the parts of a drop that have no vector of this encoder yet.

    Args:
        run: the staging, with the schema of `table`: `schema.vectors`, unless `make_rows` makes
            others.
        table: the table of vectors, of which parts are skipped that it has from this encoder.
        spec: the encoder, as in the configuration of a space.
        process: that few parts are encoded in. None: one of their own.
        make_rows: makes rows of part ids, the encoder's rows, the encoder and the schema.

    Returns:
        How many parts pass the prefilter, and how many of them have a vector now. The parts that
        failed are in the entries of `run`.

    Raises:
        EncoderError: the encoder cannot be loaded, or the cluster lacks the CPUs or GPUs that the
            actors need.
        InvariantError: a vector is not of unit length.
    """
    limit_retained_memory()
    encoder, ray = load_encoder(spec), workspace.config.engine.ray
    with pending_parts(workspace, run, drop, table, modality, encoder.fingerprint) as parts:
        if not parts.left:
            return parts.total, parts.kept
        in_progress: dict[str, pa.RecordBatch] = {}
        units = _units(workspace, parts, modality, 4 * encoder.dim, in_progress)
        with (
            StagingWriter(run) as writer,
            show_progress(run, parts.left, f"parts, {modality}", lambda: writer.parts),
            encoding_processes(spec, parts.left, ray, process) as processes,
        ):
            for result in processes.map(units):
                entries = _entries(in_progress.pop(result.name), result)
                rows = make_rows(result.ids, result.vectors, encoder, run.schema)
                writer.add(result.name, rows, entries)
        return parts.total, parts.kept + writer.kept


def _units(
    workspace: Workspace,
    parts: PendingParts,
    modality: str,
    row_bytes: int,
    in_progress: dict[str, pa.RecordBatch],
) -> Iterator[tuple[str, LoadParts]]:
    """Units of neighbouring parts, with names.

    A name is a hash of the part ids in the unit, because a rerun may cut the parts differently.

    Args:
        row_bytes: of the encoder's row for a part.
        in_progress: gets the parts of each unit, by its name.
    """
    tables = workspace.tables
    samples = TableVersion(tables, "samples", tables.version("samples"))
    most = max(1, min(UNIT_PARTS[modality], _UNIT_BYTES // row_bytes))
    for batch in parts.batches(most):
        size = np.cumsum(batch["bytes"].to_numpy(zero_copy_only=False))
        cuts = np.flatnonzero(np.diff(size // _UNIT_BYTES)) + 1
        for start, stop in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
            unit = batch.slice(start, stop - start)
            ids, rows = (tuple(unit[c].to_pylist()) for c in ("part_id", "row"))
            name = f"{modality}-{identity.run_key(ids)[:16]}"
            in_progress[name] = unit
            yield name, LoadParts(samples, modality, ids, rows)


def _entries(unit: pa.RecordBatch, result: UnitResult) -> list[Entry]:
    """Ledger entries of the parts of a unit that failed."""
    if not result.failed:
        return []
    records = {part["part_id"]: (part["source"], part["key"]) for part in unit.to_pylist()}
    return [Entry.of(*records[part], error, id=part) for part, error in result.failed]
