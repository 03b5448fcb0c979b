"""Writes the tables `moments__{space}__{modality}`: moments as rows of a gallery of their own.

A moment is corrected as an item of the gallery of its modality is: by the same directions, with the
banks and the cluster of its part. Rows of parts that did not change are kept.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from embedders.registry import load_encoder
from pipelines.decisions.kept_samples import KeptSamples
from pipelines.engine.ray_tasks import results_in_order
from pipelines.gallery.parts import GalleryParts
from pipelines.gallery.rows import GallerySpec, Inputs, described, fit_vectors
from pipelines.stages.context import StageContext
from pipelines.vectors.moments import moment_spec
from store.tables import moments
from store.tables.lance_tables import quote
from store.tables.names import moment_vectors_table, moments_table
from store.tables.table_version import TableVersion, take_rows

_TILE = 64  # parts a task: of 300 moments each, 40 MB of vectors of 512 dimensions


def write_moments(
    context: StageContext,
    samples: KeptSamples,
    spec: GallerySpec,
    inputs: Inputs,
    changed: set[str] | None,
    unchanged: set[str],
    use_ray: Callable[[int], bool],
) -> None:
    """Compile and publish the moments of one modality; remove those that are no longer wanted.

    Args:
        samples: the kept samples.
        spec: what is compiled into the gallery of the modality.
        inputs: the tables that its rows are made from.
        changed: clusters whose fitted values are no longer valid; None if none is valid.
        unchanged: drops whose samples, signals and captions are those of the last gallery.
        use_ray: whether work on so many rows is done on Ray, which is then connected.
    """
    tables, space, modality = context.tables, context.space, spec.modality
    name = moments_table(space.name, modality)
    source = moment_vectors_table(space.name, modality)
    last = tables.open_or_none(name)
    config = context.config.moments
    option = None if config is None else config.options.get(modality)
    if option is None or not tables.exists(source):
        if last is not None and last.count_rows():
            tables.replace(name, last.schema, [], None)
        return
    encoder = load_encoder(moment_spec(space, modality, option)).fingerprint
    spec = replace(spec, queries={}, words=None)
    columns = moments.served_schema(modality, spec.dim, spec.moved)
    vectors = TableVersion(tables, source, tables.version(source))
    parts = GalleryParts(samples, vectors, modality, encoder, f"{modality}_moments")
    if last is not None and (
        not set(columns.names) <= set(last.schema.names)
        or last.count_rows(f"encoder != {quote(encoder)}")
    ):
        last = None
    stored = None if last is None else TableVersion(tables, name, last.version)
    comparison = parts.compare(stored, changed, unchanged, "moment = 0")
    count = comparison.changed if comparison.is_small else parts.count
    tiles = parts.tiles(tables, _TILE, comparison.is_small)
    shared = spec, replace(inputs, vectors=vectors, last=None), encoder
    num_gpus = context.config.engine.ray.num_gpus
    made = results_in_order(_tile, shared, tiles, on_ray=use_ray(count), num_gpus=num_gpus)
    rows = (batch for tile in made for batch in tile.to_batches())
    if comparison.is_small:
        tables.upsert(name, columns, rows, "part_id", removed=parts.removed())
    else:
        tables.replace(name, columns, rows, None)


def _tile(shared: tuple[GallerySpec, Inputs, str], parts: pa.Table) -> pa.Table:
    """The moments of a tile of parts."""
    spec, inputs, encoder = shared
    stored = take_rows(inputs.vectors, parts["vector_row"].to_pylist(), ["vectors", "spans"])
    own = moments.read_columns(stored)
    part_of = np.repeat(np.arange(len(own.lengths)), own.lengths)
    starts = np.cumsum(own.lengths) - own.lengths
    of_parts = pa.table(described(parts, inputs)).take(pa.array(part_of))
    clusters = of_parts["cluster"].to_numpy(zero_copy_only=False).astype(str)
    # The stored float16 rows are of unit length up to rounding.
    unit = own.vectors / np.linalg.norm(own.vectors, axis=1, keepdims=True)
    fitted = fit_vectors(unit, clusters, of_parts["vector_row"].to_numpy(), spec)
    columns = {n: of_parts[n] for n in of_parts.schema.names}
    columns |= {n: fitted[n] for n in fitted.schema.names}
    columns["moment"] = pa.array((np.arange(len(part_of)) - starts[part_of]).astype(np.int32))
    columns["encoder"] = pa.array([encoder] * len(part_of), pa.string())
    columns |= moments.span_columns(spec.modality, own.spans)
    made = moments.served_schema(spec.modality, spec.dim, spec.moved)
    return pa.table([columns[n] for n in made.names], names=made.names).cast(made)
