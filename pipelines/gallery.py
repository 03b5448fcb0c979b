"""gallery: what search reads, with the chosen corrections compiled into it (Ray).

Ray tasks take the gallery in tiles: vectors, biases from every query modality, thumbnails. A
thumbnail is made once; a part that is in the last gallery already brings its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from embedders.cluster import cluster
from pipelines import keys
from pipelines.banks import bank_table
from pipelines.choose import Banks, Gallery, check_methods, choose
from pipelines.embed import as_matrix, table_name
from pipelines.kept import kept_samples
from pipelines.keys import corpus_space
from pipelines.media import thumbnail
from pipelines.parts import gallery_parts
from store import schema
from store.corrections import Prepared
from store.errors import RecordError
from store.releases import Direction
from store.stage import Counts, begin, publish
from store.tables import Tables, one_of, take
from store.workspace import Workspace

STAGE = "gallery"

_TILE = 1024
_IN_FLIGHT = 4


def gallery_table(space: str, modality: str) -> str:
    return f"gallery__{space}__{modality}"


def directions_table(space: str) -> str:
    return f"directions__{space}"


def build_gallery(workspace: Workspace) -> Counts:
    """Make the galleries of the space's modalities. Counted are parts of kept samples.

    Raises:
        ConfigError: a correction of corpus.yaml cannot be compiled.
    """
    tables, space = workspace.tables, corpus_space(workspace)
    settings, key = workspace.config.corrections, keys.gallery(workspace)
    check_methods(settings.methods)
    vectors = tables.open(table_name(space.name))
    dim = vectors.schema.field("vector").type.list_size
    banks = Banks(tables.open(bank_table(space.name)).to_table())
    with begin(tables, STAGE, key, schema.gallery(dim)) as run:
        samples = kept_samples(workspace)
        directions: list[Direction] = []
        compiled = []
        for modality in sorted(space.towers):
            parts = gallery_parts(workspace, modality, samples)
            gallery = _as_gallery(vectors, parts)
            ways: dict[str, Prepared] = {}
            for query in sorted(space.towers):
                direction, prepared = choose(
                    banks, query, modality, gallery, settings.methods, settings.seed
                )
                directions.append(direction)
                if prepared is not None:
                    ways[query] = prepared
            compiled.append((modality, parts, ways))
        shown = sum(parts.num_rows for _, parts, _ in compiled)
        wanted = sum(
            len(pc.unique(pc.drop_null(samples[f"{m}_id"].combine_chunks()))) for m in space.towers
        )

        def write() -> None:
            for modality, parts, ways in compiled:
                name = gallery_table(space.name, modality)
                with cluster(workspace.config.engine.ray.address):
                    tiles = _tiles(tables, name, vectors, parts, ways, modality)
                    tables.replace(name, schema.gallery(dim), tiles, None)
            rows = pa.Table.from_pylist([_row(d) for d in directions], schema=_DIRECTIONS)
            tables.replace(directions_table(space.name), _DIRECTIONS, rows.to_batches(), None)

        return publish(
            tables,
            run,
            counts=Counts(wanted, shown, failed=_never_embedded(tables, samples, space.towers)),
            entries=[],
            write=write,
            output=lambda: key,
        )


def _never_embedded(tables: Tables, samples: pa.Table, modalities: Iterable[str]) -> int:
    """How many parts of kept samples the encoders could not take, by the ledger."""
    entries = tables.scan("ledger", schema.LEDGER, ["id"], one_of("stage", ["vectors"]))
    failed = pc.unique(entries["id"].combine_chunks())
    columns = [samples[f"{m}_id"].combine_chunks() for m in modalities]
    return sum(
        pc.sum(pc.is_in(pc.unique(c), value_set=pc.drop_null(failed))).as_py() or 0 for c in columns
    )


def _as_gallery(vectors: lance.LanceDataset, parts: pa.Table) -> Gallery:
    rows = parts["vector_row"].to_pylist()
    taken = take(vectors.uri, vectors.version, rows, ["vector"])
    return Gallery(
        as_matrix(taken["vector"]),
        parts["cluster"].to_numpy(zero_copy_only=False).astype(str),
        parts["part_id"].to_numpy(zero_copy_only=False).astype(str),
    )


@dataclass(frozen=True)
class _Places:
    """Where a tile task reads: tables at versions, so that every task sees the same rows."""

    vectors: str
    vectors_version: int
    samples: str
    samples_version: int
    last: str | None
    last_version: int | None


def _tiles(
    tables: Tables,
    name: str,
    vectors: lance.LanceDataset,
    parts: pa.Table,
    ways: dict[str, Prepared],
    modality: str,
) -> Iterator[pa.RecordBatch]:
    """The gallery's rows, tile by tile in order, a bounded number of tiles at a time."""
    samples = tables.open("samples")
    last = tables.open(name) if tables.exists(name) else None
    known: dict[str, int] = {}
    if last is not None:
        seen = last.to_table(columns=["part_id"], with_row_id=True)
        known = dict(zip(seen["part_id"].to_pylist(), seen["_rowid"].to_pylist(), strict=True))
    places = _Places(
        vectors.uri,
        vectors.version,
        samples.uri,
        samples.version,
        last.uri if last is not None else None,
        last.version if last is not None else None,
    )
    shared = ray.put(ways)
    waiting: list[Any] = []
    for start in range(0, parts.num_rows, _TILE):
        tile = parts.slice(start, _TILE).combine_chunks()
        before = [known.get(part) for part in tile["part_id"].to_pylist()]
        waiting.append(_tile.remote(places, tile, before, shared, modality))
        if len(waiting) > _IN_FLIGHT:
            yield from ray.get(waiting.pop(0)).to_batches()
    for reply in waiting:
        yield from ray.get(reply).to_batches()


@ray.remote
def _tile(
    places: _Places,
    parts: pa.Table,
    before: list[int | None],
    ways: dict[str, Prepared],
    modality: str,
) -> pa.Table:
    """One tile's rows: vectors as stored, a bias for each query modality, thumbnails."""
    rows = parts["vector_row"].to_pylist()
    taken = take(places.vectors, places.vectors_version, rows, ["vector"])
    vectors = as_matrix(taken["vector"])
    dim = vectors.shape[1]
    clusters = parts["cluster"].to_numpy(zero_copy_only=False).astype(str)
    columns: dict[str, Any] = {name: parts[name] for name in parts.schema.names}
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    for query in schema.MODALITIES:
        bias = np.zeros(len(vectors), np.float32)
        if query in ways:
            bias = np.asarray(ways[query].apply(vectors, clusters)[0].bias, np.float32)
        columns[f"bias_{query}"] = pa.array(bias)
    columns["thumbnail"] = pa.nulls(parts.num_rows, pa.binary())
    if modality == "image":
        columns["thumbnail"] = _thumbnails(places, parts["sample_row"].to_pylist(), before)
    wanted = schema.gallery(dim)
    return pa.table([columns[f.name] for f in wanted], names=wanted.names).cast(wanted)


def _thumbnails(places: _Places, rows: list[int], before: list[int | None]) -> pa.Array:
    made: dict[int, bytes | None] = {}
    old = [r for r in before if r is not None]
    if places.last is not None and places.last_version is not None and old:
        taken = take(places.last, places.last_version, old, ["thumbnail"])["thumbnail"]
        made = dict(zip(old, taken.to_pylist(), strict=True))
    fresh = [row for row, was in zip(rows, before, strict=True) if was is None]
    shown: dict[int, bytes | None] = {}
    for start in range(0, len(fresh), 64):
        chunk = fresh[start : start + 64]
        images = take(places.samples, places.samples_version, chunk, ["image"])["image"]
        for row, image in zip(chunk, images.to_pylist(), strict=True):
            try:
                shown[row] = thumbnail(image)
            except RecordError:  # it was decoded when it was read: a row without is still a hit
                shown[row] = None
    return pa.array(
        [
            made[was] if was is not None else shown[row]
            for row, was in zip(rows, before, strict=True)
        ],
        pa.binary(),
    )


_DIRECTIONS = pa.schema([pa.field("direction", pa.string(), False), ("detail", pa.string())])


def _row(direction: Direction) -> dict[str, str]:
    import json

    return {"direction": direction.name, "detail": json.dumps(vars(direction))}


def read_directions(tables: Tables, space: str) -> dict[str, Direction]:
    """What the last gallery was compiled with, by direction."""
    import json

    rows = tables.scan(directions_table(space), _DIRECTIONS).to_pylist()
    return {r["direction"]: Direction(**json.loads(r["detail"])) for r in rows}
