"""Make the rows of a gallery, tile by tile, on the workers of a Ray cluster or in this process.

A part that is in the last gallery keeps its thumbnail, which is expensive to make, and its fitted
values, if they are still valid (`pipelines.gallery.reuse`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.media.image import thumbnail
from pipelines.engine.ray_tasks import results_in_order
from pipelines.gallery import fit, k_occurrence
from pipelines.gallery.fit import FitPlan
from pipelines.gallery.k_occurrence import CountedQueries
from store.arrow import as_matrix, vector_column
from store.errors import RecordError
from store.search.vector_layout import fold
from store.tables import schema, words
from store.tables.direction import Direction
from store.tables.table_version import TableVersion, take_rows
from store.tables.words import ItemWords

TILE = 1024  # parts a task: small enough that the images of a small corpus keep all cores busy
_IMAGES = 64  # encoded images that a task holds at a time
# First words of the names of fitted columns.
_FITTED = ("vector", "bias", "hub", "occurrence", "words")


@dataclass(frozen=True)
class Inputs:
    """The tables that rows are made from.

    Attributes:
        samples: captions and images.
        signals: the columns to filter by.
        signal_columns: those of them that the table has; the others are null.
        vectors: the table of vectors.
        last: the last gallery, if there is one.
    """

    samples: TableVersion
    signals: TableVersion
    signal_columns: list[str]
    vectors: TableVersion
    last: TableVersion | None


@dataclass(frozen=True)
class GallerySpec:
    """What is compiled into one gallery.

    Attributes:
        modality: of its parts.
        dim: of the space's vectors.
        fits: the corrections, by query modality; raw directions are left out.
        directions: that search the gallery, by query modality.
        queries: bank queries for k-occurrence with their floors, by query modality.
        words: what gives words to the items; None: they get none.
    """

    modality: str
    dim: int
    fits: FitPlan
    directions: Mapping[str, Direction]
    queries: Mapping[str, CountedQueries]
    words: ItemWords | None = None

    @property
    def moved(self) -> list[str]:
        """The query modalities whose correction moves vectors."""
        return [m for m, spec in self.fits.by_name.items() if spec.recipe.moves]

    @property
    def schema(self) -> pa.Schema:
        more = () if self.words is None else words.COLUMNS
        return schema.gallery(self.dim, self.moved, more)

    @property
    def fitted_schema(self) -> pa.Schema:
        """The columns that are fitted."""
        return pa.schema([f for f in self.schema if f.name.partition("_")[0] in _FITTED])


def gallery_rows(
    tiles: Iterable[pa.Table],
    spec: GallerySpec,
    inputs: Inputs,
    *,
    on_ray: bool,
    num_gpus: float = 0,
) -> Iterator[pa.RecordBatch]:
    """The gallery's rows in the order of the tiles.

    Args:
        tiles: parts, as `GalleryParts.tiles` yields them.
        spec: what is compiled into the gallery.
        inputs: what rows are made from.
        on_ray: make them by Ray tasks; else in this process.
        num_gpus: GPUs that each task asks for.
    """
    made = results_in_order(_tile, (spec, inputs), tiles, on_ray=on_ray, num_gpus=num_gpus)
    for rows in made:
        yield from rows.to_batches()


def _tile(shared: tuple[GallerySpec, Inputs], parts: pa.Table) -> pa.Table:
    spec, inputs = shared
    last = inputs.last
    same = parts["same"].to_numpy()
    blocks = []  # first the reused rows, then those fitted anew
    if last is not None and same.any():
        rows = parts["last_row"].filter(parts["same"]).to_pylist()
        reused = take_rows(last, rows, spec.fitted_schema.names)
        blocks.append(reused.cast(spec.fitted_schema))
    if not same.all():
        blocks.append(fit_rows(parts.filter(pa.array(~same)), spec, inputs.vectors))
    row_of_part = np.empty(len(same), np.int64)
    row_of_part[np.argsort(~same, kind="stable")] = np.arange(len(same))
    fitted = pa.concat_tables(blocks).take(pa.array(row_of_part))
    columns = {name: fitted[name] for name in fitted.schema.names}
    columns |= described(parts, inputs)
    columns["thumbnail"] = pa.nulls(parts.num_rows, pa.binary())
    if spec.modality == "image":
        columns["thumbnail"] = _thumbnails(parts, inputs.samples, last)
    names = spec.schema.names
    return pa.table([columns[n] for n in names], names=names).cast(spec.schema)


def described(parts: pa.Table, inputs: Inputs) -> dict[str, pa.ChunkedArray]:
    """The columns of parts that are not fitted: those of a tile, captions and signals."""
    columns = {name: parts[name] for name in parts.schema.names}
    captions = _take(inputs.samples, parts["sample_row"], ["text"])["text"]
    columns["caption"] = pc.coalesce(parts["repair_text"].cast(captions.type), captions)
    columns |= dict.fromkeys(schema.SIGNAL_TYPES, pa.chunked_array([pa.nulls(parts.num_rows)]))
    if inputs.signal_columns:
        signals = _take(inputs.signals, parts["signal_row"], inputs.signal_columns)
        columns |= {name: signals[name] for name in inputs.signal_columns}
    return columns


def _take(table: TableVersion, rows: pa.ChunkedArray, columns: list[str]) -> pa.Table:
    return take_rows(table, rows.to_pylist(), columns)


def fit_rows(parts: pa.Table, spec: GallerySpec, source: TableVersion) -> pa.Table:
    """The fitted columns of parts, from their vectors."""
    rows = take_rows(source, parts["vector_row"].to_pylist(), ["vector"])
    clusters = parts["cluster"].to_numpy(zero_copy_only=False).astype(str)
    return fit_vectors(as_matrix(rows["vector"]), clusters, parts["vector_row"].to_numpy(), spec)


def fit_vectors(
    vectors: np.ndarray, clusters: np.ndarray, vector_rows: np.ndarray, spec: GallerySpec
) -> pa.Table:
    """The fitted columns of unit vectors (n, d), their clusters (n,) and row ids (n,) uint64."""
    applied = fit.apply_fits(spec.fits, vectors, clusters)
    bias = {m: np.asarray(a.bias, np.float32) for m, a in applied.items()}
    unmoved = {m: b for m, b in bias.items() if m not in spec.moved}
    columns = {"vector": vector_column(fold(vectors, unmoved, spec.directions))}
    for m in spec.moved:
        moved = np.asarray(applied[m].vectors)
        columns[f"vector_{m}"] = vector_column(fold(moved, {m: bias[m]}, spec.directions))
    zeros = np.zeros(len(vectors), np.float32)
    for m in schema.MODALITIES:
        columns[f"bias_{m}"] = pa.array(bias.get(m, zeros))
        flag = applied[m].flag if m in applied else None
        columns[f"hub_{m}"] = pa.array(zeros > 0 if flag is None else np.asarray(flag))
        columns[f"occurrence_{m}"] = pa.nulls(len(vectors), pa.int32())
        if m in spec.queries:
            counts = k_occurrence.count_occurrence(vectors, clusters, vector_rows, spec.queries[m])
            columns[f"occurrence_{m}"] = pa.array(counts)
    if spec.words is not None:
        columns |= spec.words.columns(spec.modality, vectors)
    names = spec.fitted_schema.names
    return pa.table([columns[n] for n in names], schema=spec.fitted_schema)


def _thumbnails(parts: pa.Table, samples: TableVersion, last: TableVersion | None) -> pa.Array:
    """A thumbnail a part, (n,) binary: the last gallery's, or made from the sample's image."""
    last_rows, sample_rows = parts["last_row"].to_pylist(), parts["sample_row"].to_pylist()
    reused: dict[int, bytes | None] = {}
    old = [row for row in last_rows if row is not None]
    if last is not None and old:
        stored = take_rows(last, old, ["thumbnail"])["thumbnail"]
        reused = dict(zip(old, stored.to_pylist(), strict=True))
    new = [row for row, old_row in zip(sample_rows, last_rows, strict=True) if old_row is None]
    made: dict[int, bytes | None] = {}
    source = samples.open()
    for start in range(0, len(new), _IMAGES):
        rows = new[start : start + _IMAGES]
        images = take_rows(source, rows, ["image"])["image"]
        for row, image in zip(rows, images.to_pylist(), strict=True):
            try:
                made[row] = thumbnail(image)
            except (
                RecordError
            ):  # it could be decoded once; a hit without a thumbnail is still a hit
                made[row] = None
    return pa.array(
        [
            made[row] if old_row is None else reused[old_row]
            for row, old_row in zip(sample_rows, last_rows, strict=True)
        ],
        pa.binary(),
    )
