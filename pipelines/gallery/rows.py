"""The rows of a gallery, made tile by tile on the workers of a Ray cluster.

What the last gallery has of a part is taken over where it would come out the same: the thumbnail,
which costs a decoded picture, and the fitted values, which depend on the part, its cluster and the
banks alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray

from embedders.media.image import thumbnail
from pipelines.engine import ray_tasks
from pipelines.gallery import fit, k_occurrence
from pipelines.gallery.fit import FitSpecs
from pipelines.gallery.k_occurrence import CountedQueries
from store.arrays import as_matrix, vector_column
from store.errors import RecordError
from store.search.vector_layout import fold
from store.tables import schema
from store.tables.lance_tables import take

TILE = 1024  # parts a task: small enough that the pictures of a small corpus keep all cores busy
_CHUNK = 64  # pictures held at a time


@dataclass(frozen=True)
class TableVersion:
    """A table at a version, so that every task sees the same rows."""

    uri: str
    version: int


@dataclass(frozen=True)
class Compiled:
    """What is compiled into one gallery, by query modality."""

    modality: str
    dim: int
    ways: FitSpecs
    centre: Mapping[str, float]
    asked: Mapping[str, CountedQueries]

    @property
    def moved(self) -> list[str]:
        """The query modalities whose correction moves vectors."""
        return [m for m, way in self.ways.by_name.items() if way.recipe.moves]

    @property
    def schema(self) -> pa.Schema:
        return schema.gallery(self.dim, self.moved)

    @property
    def values(self) -> pa.Schema:
        """The columns that come of fitting."""
        return pa.schema([f for f in self.schema if f.name.partition("_")[0] in _FITTED])


_FITTED = ("vector", "bias", "hub", "occurrence")


def gallery_rows(
    parts: pa.Table,
    compiled: Compiled,
    vectors: TableVersion,
    samples: TableVersion,
    last: TableVersion | None,
    *,
    num_gpus: float,
) -> Iterator[pa.RecordBatch]:
    """The gallery's rows in the order of `parts`.

    `parts` is of `gallery_parts`, with `last_row` (the part's row id in the last
    gallery, or null) and `same` (whether its fitted values there still hold).
    """
    shared = ray.put(compiled)
    task = _tile.options(num_gpus=num_gpus)
    replies = (
        task.remote(parts.slice(start, TILE).combine_chunks(), shared, vectors, samples, last)
        for start in range(0, parts.num_rows, TILE)
    )
    for rows in ray_tasks.in_order(replies):
        yield from rows.to_batches()


@ray.remote
def _tile(
    parts: pa.Table,
    compiled: Compiled,
    vectors: TableVersion,
    samples: TableVersion,
    last: TableVersion | None,
) -> pa.Table:
    same = parts["same"].to_numpy()
    values = []
    if last is not None and same.any():
        rows = parts["last_row"].filter(parts["same"]).to_pylist()
        values.append(
            take(last.uri, last.version, rows, compiled.values.names).cast(compiled.values)
        )
    if not same.all():
        values.append(_fitted(parts.filter(pa.array(~same)), compiled, vectors))
    place = np.empty(len(same), np.int64)  # those taken over come first in `values`
    place[np.argsort(~same, kind="stable")] = np.arange(len(same))
    made = pa.concat_tables(values).take(pa.array(place))
    columns = {name: made[name] for name in made.schema.names}
    columns |= {name: parts[name] for name in parts.schema.names}
    columns["thumbnail"] = pa.nulls(parts.num_rows, pa.binary())
    if compiled.modality == "image":
        columns["thumbnail"] = _thumbnails(parts, samples, last)
    names = compiled.schema.names
    return pa.table([columns[n] for n in names], names=names).cast(compiled.schema)


def _fitted(parts: pa.Table, compiled: Compiled, source: TableVersion) -> pa.Table:
    """The fitted columns of some parts."""
    rows = take(source.uri, source.version, parts["vector_row"].to_pylist(), ["vector"])
    vectors = as_matrix(rows["vector"])
    clusters = parts["cluster"].to_numpy(zero_copy_only=False).astype(str)
    applied = fit.apply_fits(compiled.ways, vectors, clusters)
    bias = {m: np.asarray(a.bias, np.float32) for m, a in applied.items()}
    still = {m: b for m, b in bias.items() if m not in compiled.moved}
    columns = {"vector": vector_column(fold(vectors, still, compiled.centre))}
    for m in compiled.moved:
        moved = np.asarray(applied[m].vectors)
        columns[f"vector_{m}"] = vector_column(fold(moved, {m: bias[m]}, compiled.centre))
    nothing = np.zeros(len(vectors), np.float32)
    for m in schema.MODALITIES:
        columns[f"bias_{m}"] = pa.array(bias.get(m, nothing))
        flag = applied[m].flag if m in applied else None
        columns[f"hub_{m}"] = pa.array(nothing > 0 if flag is None else np.asarray(flag))
        columns[f"occurrence_{m}"] = pa.nulls(len(vectors), pa.int32())
        if m in compiled.asked:
            counts = k_occurrence.count(vectors, clusters, compiled.asked[m])
            columns[f"occurrence_{m}"] = pa.array(counts)
    names = compiled.values.names
    return pa.table([columns[n] for n in names], schema=compiled.values)


def _thumbnails(parts: pa.Table, samples: TableVersion, last: TableVersion | None) -> pa.Array:
    before = parts["last_row"].to_pylist()
    made: dict[int, bytes | None] = {}
    old = [row for row in before if row is not None]
    if last is not None and old:
        taken = take(last.uri, last.version, old, ["thumbnail"])["thumbnail"]
        made = dict(zip(old, taken.to_pylist(), strict=True))
    sample_rows = parts["sample_row"].to_pylist()
    fresh = [row for row, was in zip(sample_rows, before, strict=True) if was is None]
    shown: dict[int, bytes | None] = {}
    for start in range(0, len(fresh), _CHUNK):
        chunk = fresh[start : start + _CHUNK]
        images = take(samples.uri, samples.version, chunk, ["image"])["image"]
        for row, image in zip(chunk, images.to_pylist(), strict=True):
            try:
                shown[row] = thumbnail(image)
            except RecordError:  # it was decoded when it was read: a row without is still a hit
                shown[row] = None
    return pa.array(
        [
            shown[row] if was is None else made[was]
            for row, was in zip(sample_rows, before, strict=True)
        ],
        pa.binary(),
    )
