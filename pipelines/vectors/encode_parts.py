"""Fills a table of vectors with what an encoder makes of a drop's parts (Ray actor pool).

A part is embedded once however many samples and drops it is in. What comes out of the pool is
committed to staging as it comes, so an interrupted run goes on after the last commit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.pool import Pool, UnitResult
from embedders.registry import load
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.progress import watch
from pipelines.vectors.pending_parts import PendingParts, pending_parts
from pipelines.vectors.staging_writer import StagingWriter
from store import identity
from store.arrays import is_unit_length, vector_column
from store.errors import InvariantError
from store.tables.lance_tables import take
from store.tables.staging import Entry, StageRun
from store.workspace import Workspace

# What a unit holds at most: enough that its overhead is small, little enough to be redone.
UNIT_PARTS = {"image": 128, "text": 2048, "audio": 32}
_UNIT_BYTES = 16 << 20


@dataclass(frozen=True)
class LoadParts:
    """Reads parts from `samples`: (part id, bytes or text) for each of `ids`, which are in `rows`
    of that version."""

    root: str
    version: int
    column: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        found = take(f"{self.root}/samples.lance", self.version, self.rows, [self.column])
        return list(zip(self.ids, found[self.column].to_pylist(), strict=True))


def encode_parts(
    workspace: Workspace, run: StageRun, drop: str, table: str, spec: str, modality: str
) -> tuple[int, int]:
    """Stage what an encoder makes of a drop's parts, but for those that `table` has from it.

    Args:
        run: its schema is that of `table`, as `schema.vectors` has it.
        spec: the encoder, as spaces name it.

    Returns how many parts pass the prefilter, and how many of them have their vector now. Parts
    that have none are in the entries of `run`.

    Raises:
        EncoderError: the encoder cannot be loaded, or the cluster has not what it asks for.
        InvariantError: a vector is not of unit length.
    """
    limit_retained_memory()
    encoder, ray = load(spec), workspace.config.engine.ray
    with pending_parts(workspace, run, drop, table, modality, encoder.fingerprint) as parts:
        if not parts.left:
            return parts.total, parts.kept
        under_way: dict[str, pa.RecordBatch] = {}
        units = _units(workspace, parts, modality, under_way)
        with (
            StagingWriter(run) as commits,
            watch(run, parts.left, f"parts, {modality}", lambda: commits.parts),
            Pool(spec, **ray.model_dump()) as pool,
        ):
            for result in pool.map(units):
                entries = _entries(under_way.pop(result.name), result)
                rows = rows_of(result.ids, result.vectors, encoder, run.schema)
                commits.add(result.name, rows, entries)
        return parts.total, parts.kept + commits.kept


def _units(
    workspace: Workspace, parts: PendingParts, modality: str, under_way: dict[str, pa.RecordBatch]
) -> Iterator[tuple[str, LoadParts]]:
    """Neighbouring parts, named after what is in them: a rerun may cut differently."""
    root, version = workspace.tables.root, workspace.tables.version("samples")
    for batch in parts.batches(UNIT_PARTS[modality]):
        size = np.cumsum(batch["bytes"].to_numpy(zero_copy_only=False))
        cuts = np.flatnonzero(np.diff(size // _UNIT_BYTES)) + 1
        for start, stop in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
            unit = batch.slice(start, stop - start)
            ids, rows = (tuple(unit[c].to_pylist()) for c in ("part_id", "row"))
            name = f"{modality}-{identity.run_key(ids)[:16]}"
            under_way[name] = unit
            yield name, LoadParts(root, version, modality, ids, rows)


def _entries(unit: pa.RecordBatch, result: UnitResult) -> list[Entry]:
    if not result.failed:
        return []
    places = {part["part_id"]: (part["source"], part["key"]) for part in unit.to_pylist()}
    return [Entry.of(*places[part], error, id=part) for part, error in result.failed]


def rows_of(
    ids: list[str], made: np.ndarray, encoder: Encoder, columns: pa.Schema
) -> pa.RecordBatch:
    """Rows of a table of vectors, out of Ray's memory, which is for what is on its way.

    Raises InvariantError where one is not of unit length.
    """
    vectors = np.array(made, np.float32)
    _check_unit_length(ids, vectors)
    count = len(ids)
    arrays = [
        pa.array(ids, pa.string()),
        pa.array([encoder.modality] * count, pa.string()),
        pa.array([encoder.fingerprint] * count, pa.string()),
        vector_column(vectors),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def _check_unit_length(ids: list[str], vectors: np.ndarray) -> None:
    off = ~is_unit_length(vectors)
    if off.any():
        row = int(np.argmax(off))
        raise InvariantError(
            f"{int(off.sum())} vectors of a batch are not of unit length, part {ids[row]} for one"
            f" has length {np.linalg.norm(vectors[row]):g}; nothing was published"
        )
