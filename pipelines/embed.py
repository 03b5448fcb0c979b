"""vectors: every part that the prefilter lets through, embedded once (Ray actor pool).

A part is embedded once however many samples and drops it is in. Units of parts are committed to
staging as they come out of the pool, so an interrupted run goes on after the last of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.encoder import Encoder
from embedders.pool import Pool, UnitResult
from embedders.spaces import load
from pipelines import keys
from pipelines.policy import apply
from pipelines.progress import watch
from pipelines.space import corpus_space
from store import identity, schema
from store.errors import InvariantError
from store.stage import Counts, Entry, StageRun, UnitOutcome, begin, publish
from store.tables import Tables, as_matrix, quote, take
from store.workspace import Workspace

STAGE = "vectors"
UNIT_PARTS = 64

_CONTENT = {"image": "image", "text": "text", "audio": "audio"}
_UNIT_LENGTH_TOLERANCE = 1e-3


def table_name(space: str) -> str:
    return f"vectors__{space}"


@dataclass(frozen=True)
class LoadParts:
    """Reads the content of some parts from `samples`; runs in the pool's CPU tasks."""

    root: str
    version: int
    column: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        found = take(f"{self.root}/samples.lance", self.version, self.rows, [self.column])
        return list(zip(self.ids, found[self.column].to_pylist(), strict=True))


def embed(workspace: Workspace, drop: str) -> Counts:
    """Make the vectors of a drop's parts that are not there yet.

    Counted are parts: in = those that the prefilter lets through in the space's modalities.

    Raises:
        NotFoundError: the drop has no signals yet.
        EncoderError: an encoder cannot be loaded, or the cluster has not what it asks for.
        InvariantError: a vector is not of unit length; nothing was published.
    """
    tables, space = workspace.tables, corpus_space(workspace)
    key = keys.vectors(workspace, drop)
    encoders = {m: load(spec) for m, spec in sorted(space.towers.items())}
    columns = schema.vectors(_common_dim(encoders))
    name = table_name(space.name)
    with begin(tables, STAGE, key, columns, drop) as run:
        resumed = len(run.done())
        staged = set(run.staged(["part_id"])["part_id"].to_pylist())
        failed_before = {e.id for e in run.entries()}
        total = kept = 0
        version = tables.version("samples")
        for modality, spec in sorted(space.towers.items()):
            encoder = encoders[modality]
            parts = _wanted(workspace, drop, modality)
            total += parts.num_rows
            there = _embedded(tables, name, columns, encoder) | staged
            todo = _without(_without(parts, there), failed_before)
            kept += parts.num_rows - _without(parts, there).num_rows
            if not todo.num_rows:
                continue
            units = _units(tables.root, version, modality, todo)
            ray = workspace.config.engine.ray
            places = dict(
                zip(
                    todo["part_id"].to_pylist(),
                    zip(todo["source"].to_pylist(), todo["key"].to_pylist(), strict=True),
                    strict=True,
                )
            )
            with (
                watch(run, len(run.done()) + len(units), f"units of {modality}"),
                Pool(
                    spec,
                    actors=ray.actors,
                    num_cpus=ray.num_cpus,
                    num_gpus=ray.num_gpus,
                    batch_size=ray.batch_size,
                    address=ray.address,
                ) as pool,
            ):
                for result in pool.map(units):
                    kept += len(result.ids)
                    _stage(run, result, encoder, places, columns)
        entries = list(run.entries())
        check_unit_length(run.staged(["part_id", "vector"]))
        counts = Counts(total, kept, failed=len(entries))
        return publish(
            tables,
            run,
            counts=counts,
            entries=entries,
            write=lambda: tables.upsert(name, columns, run.batches(rows=4096), "part_id"),
            output=lambda: key,
            resumed=resumed,
        )


def _common_dim(encoders: dict[str, Encoder]) -> int:
    dims = {e.dim for e in encoders.values()}
    if len(dims) != 1:
        shown = ", ".join(f"{m}: {e.dim}" for m, e in encoders.items())
        raise InvariantError(f"the towers of a space must have equal dimensions, not {shown}")
    return dims.pop()


def _wanted(workspace: Workspace, drop: str, modality: str) -> pa.Table:
    """(part_id, row, source, key) of the drop's parts that pass the prefilter, each once."""
    tables, here = workspace.tables, f"drop = {quote(drop)}"
    signals = tables.scan("signals", schema.SIGNALS, where=here)
    verdict = apply(workspace.config.policy, signals)
    passed = verdict.filter(verdict["keep"])["id"]
    column = f"{modality}_id"
    samples = tables.open("samples").to_table(
        columns=["id", column, "source", "key"],
        filter=f"{here} AND {column} IS NOT NULL",
        with_row_id=True,
    )
    samples = samples.filter(pc.is_in(samples["id"], value_set=passed.combine_chunks()))
    samples = samples.sort_by(
        [(column, "ascending"), ("source", "ascending"), ("key", "ascending")]
    )
    parts = samples[column].to_numpy(zero_copy_only=False)
    first = np.ones(len(parts), bool)
    first[1:] = parts[1:] != parts[:-1]
    once = samples.filter(pa.array(first))
    return pa.table(
        {
            "part_id": once[column],
            "row": once["_rowid"],
            "source": once["source"],
            "key": once["key"],
        }
    )


def _embedded(tables: Tables, name: str, columns: pa.Schema, encoder: Encoder) -> set[str]:
    here = f"encoder = {quote(encoder.fingerprint)}"
    if tables.exists(name) and not tables.open(name).schema.equals(columns):
        return set()
    return set(tables.scan(name, columns, ["part_id"], here)["part_id"].to_pylist())


def _without(parts: pa.Table, known: set[Any]) -> pa.Table:
    if not known:
        return parts
    return parts.filter(
        pc.invert(pc.is_in(parts["part_id"], value_set=pa.array(sorted(known), pa.string())))
    )


def _units(root: str, version: int, modality: str, parts: pa.Table) -> list[tuple[str, LoadParts]]:
    """Parts in units of `UNIT_PARTS`, named after what is in them: a rerun may cut differently."""
    units = []
    for start in range(0, parts.num_rows, UNIT_PARTS):
        chunk = parts.slice(start, UNIT_PARTS)
        ids = tuple(chunk["part_id"].to_pylist())
        rows = tuple(chunk["row"].to_pylist())
        name = f"{modality}-{identity.run_key(ids)[:16]}"
        units.append((name, LoadParts(root, version, _CONTENT[modality], ids, rows)))
    return units


def _stage(
    run: StageRun,
    result: UnitResult,
    encoder: Encoder,
    places: dict[str, tuple[str, str]],
    columns: pa.Schema,
) -> None:
    entries = [Entry.of(*places[part], error, id=part) for part, error in result.failed]
    outcome = UnitOutcome(len(result.ids) + len(entries), len(result.ids), entries)
    run.append(result.name, _rows(result, encoder, columns), lambda: outcome)


def _rows(result: UnitResult, encoder: Encoder, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    if not result.ids:
        return
    count = len(result.ids)
    dim = columns.field("vector").type.list_size
    flat = pa.array(np.ascontiguousarray(result.vectors, np.float32).reshape(-1))
    arrays = [
        pa.array(result.ids, pa.string()),
        pa.array([encoder.modality] * count, pa.string()),
        pa.array([encoder.fingerprint] * count, pa.string()),
        pa.FixedSizeListArray.from_arrays(flat, dim),
    ]
    yield pa.RecordBatch.from_arrays(arrays, schema=columns)


def check_unit_length(table: pa.Table) -> None:
    """Raise InvariantError where a vector's length is not 1, or not a number."""
    if not table.num_rows:
        return
    lengths = np.linalg.norm(as_matrix(table["vector"]), axis=1)
    off = ~(np.abs(lengths - 1) <= _UNIT_LENGTH_TOLERANCE)
    if off.any():
        row = int(np.argmax(off))
        raise InvariantError(
            f"{int(off.sum())} vectors are not of unit length, part"
            f" {table['part_id'][row].as_py()} for one has length {lengths[row]:g};"
            " nothing was published"
        )
