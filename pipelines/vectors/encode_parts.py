"""Embeds a drop's parts with an encoder, on the Ray actor pool, and stages their vectors.

Few parts are embedded in one process without Ray, whose actors take seconds to start.

A part is embedded once, however many samples and drops have it. Results are committed to staging as
they arrive, so an interrupted run goes on after the last commit.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess, OneProcess
from embedders.pool.worker import UnitResult
from embedders.registry import load_encoder
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.progress import show_progress
from pipelines.vectors.pending_parts import PendingParts, pending_parts
from pipelines.vectors.staging_writer import StagingWriter
from store import identity
from store.arrays import is_unit_length
from store.config.engine import Ray
from store.errors import InvariantError
from store.tables.staging import Entry, StageRun
from store.tables.table_version import TableVersion, take_rows
from store.workspace import Workspace

if TYPE_CHECKING:
    from embedders.pool.pool import Pool

# The largest unit: large enough that its overhead is small, small enough that it is soon redone.
UNIT_PARTS = {"image": 128, "text": 2048, "audio": 32}
_UNIT_BYTES = 16 << 20
# The most parts that one process embeds, divided by the number of actors: the pool takes 4 s of
# processor more to start, and overlaps reading with encoding.
ONE_PROCESS_PARTS = 512


def encode_parts(
    workspace: Workspace,
    run: StageRun,
    drop: str,
    table: str,
    spec: str,
    modality: str,
    process: EncodingProcess | None = None,
) -> tuple[int, int]:
    """Embed and stage the parts of a drop that have no vector of this encoder yet.

    Args:
        run: the staging, with the schema of `table`: `schema.vectors`.
        table: the table of vectors, of which parts are skipped that it has from this encoder.
        spec: the encoder, as in the configuration of a space.
        process: that few parts are encoded in. None: one of their own.

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
        units = _units(workspace, parts, modality, in_progress)
        with (
            StagingWriter(run) as writer,
            show_progress(run, parts.left, f"parts, {modality}", lambda: writer.parts),
            _processes(spec, parts.left, ray, process) as processes,
        ):
            for result in processes.map(units):
                entries = _entries(in_progress.pop(result.name), result)
                rows = vector_rows(result.ids, result.vectors, encoder, run.schema)
                writer.add(result.name, rows, entries)
        return parts.total, parts.kept + writer.kept


def _processes(
    spec: str, parts: int, ray: Ray, process: EncodingProcess | None
) -> "Pool | OneProcess":
    """The pool, or one process for few parts if the pool would be on this machine without GPUs."""

    def pool() -> "Pool":
        from embedders.pool.pool import Pool  # imports Ray, which takes seconds

        return Pool(spec, **ray.of_actors())

    elsewhere = ray.address or os.environ.get("RAY_ADDRESS") or ray.num_gpus or ray.accelerator_type
    if elsewhere or parts * ray.actors > ONE_PROCESS_PARTS:
        return pool()
    return OneProcess(spec, pool, num_cpus=ray.num_cpus, batch_size=ray.batch_size, process=process)


@dataclass(frozen=True)
class LoadParts:
    """Reads the parts of one unit from `samples`.

    Attributes:
        samples: the table.
        column: of the part: image, text or audio.
        ids: of the parts.
        rows: the row ids of the samples that hold these parts, one for each.
    """

    samples: TableVersion
    column: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        """(part id, bytes or text) of each part."""
        table = take_rows(self.samples, self.rows, [self.column])
        return list(zip(self.ids, table[self.column].to_pylist(), strict=True))


def vector_rows(
    ids: list[str], vectors: np.ndarray, encoder: Encoder, columns: pa.Schema
) -> pa.RecordBatch:
    """Rows of a table of vectors.

    The vectors are copied, since those of a pool's result lie in Ray's object store, which must be
    freed soon.

    Args:
        ids: of the parts.
        vectors: unit rows (n, d).
        columns: the schema of the table: `schema.vectors`.

    Raises:
        InvariantError: a vector is not of unit length.
    """
    stored = columns.field("vector").type
    _check_unit_length(ids, vectors)  # in the encoder's own precision
    is_half = pa.types.is_float16(stored.value_type)
    copied = np.array(vectors, np.float16 if is_half else np.float32)
    count = len(ids)
    arrays = [
        pa.array(ids, pa.string()),
        pa.array([encoder.modality] * count, pa.string()),
        pa.array([encoder.fingerprint] * count, pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(copied.reshape(-1)), stored.list_size),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def _units(
    workspace: Workspace,
    parts: PendingParts,
    modality: str,
    in_progress: dict[str, pa.RecordBatch],
) -> Iterator[tuple[str, LoadParts]]:
    """Units of neighbouring parts, with names.

    A name is a hash of the part ids in the unit, because a rerun may cut the parts differently.

    Args:
        in_progress: gets the parts of each unit, by its name.
    """
    tables = workspace.tables
    samples = TableVersion(tables, "samples", tables.version("samples"))
    for batch in parts.batches(UNIT_PARTS[modality]):
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


def _check_unit_length(ids: list[str], vectors: np.ndarray) -> None:
    wrong = ~is_unit_length(vectors)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvariantError(
            f"{int(wrong.sum())} vectors of a batch are not of unit length; for example, that of"
            f" part {ids[row]} has length {np.linalg.norm(vectors[row]):g}; nothing was published"
        )
