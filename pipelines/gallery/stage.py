"""Build the galleries: what search reads, with the chosen corrections compiled into it (Ray).

One gallery a modality, one row a part of a kept sample. A build takes three steps:

1. `gallery_parts`: collect the parts of each gallery.
2. `fit_directions`: choose a correction for each pair of query modality and gallery. The last
   choice is kept until the banks or the settings change.
3. `_write_gallery`: compile the corrections into rows, and publish them. Rows of the last gallery
   that would come out the same are reused, so adding parts costs what they cost.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from embedders.pool.ray_cluster import cluster
from embedders.pool.resources import Resources, require_room
from pipelines.decisions.kept_samples import kept_samples
from pipelines.gallery import k_occurrence
from pipelines.gallery.choose_correction import fit_spec
from pipelines.gallery.directions import fit_directions
from pipelines.gallery.fit import FitPlan
from pipelines.gallery.fitted_directions import (
    FittedDirection,
    forget_fitted,
    read_fitted,
    write_fitted,
)
from pipelines.gallery.parts import gallery_parts
from pipelines.gallery.reuse import changed_clusters, mark_reusable
from pipelines.gallery.rows import GallerySpec, gallery_rows
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.banks import Banks
from store.tables.lance_tables import Tables, one_of
from store.tables.names import bank_table, gallery_table, vectors_table
from store.tables.staging import Counts, begin, publish
from store.tables.table_version import TableVersion

STAGE = "gallery"


def build_gallery(context: StageContext) -> Counts:
    """Make the galleries of the space's modalities.

    Returns:
        Counts of parts of kept samples: failed are those that no encoder could embed.

    Raises:
        NotFoundError: there are no vectors or banks yet.
        EncoderError: the banks hold vectors of other encoders.
        ConservationError: a part is neither in a gallery nor in the ledger; nothing was published.
    """
    tables, space = context.tables, context.space
    key = run_keys.gallery(context)
    vectors = TableVersion(
        tables, vectors_table(space.name), tables.version(vectors_table(space.name))
    )
    dim = _dim(vectors)
    modalities = sorted(space.towers)
    with (
        begin(tables, STAGE, key, schema.gallery(dim)) as run,
        cluster(context.config.engine.ray.address),
    ):
        ray = context.config.engine.ray
        require_room(1, Resources(num_gpus=ray.num_gpus), ray.wait_seconds)
        samples = kept_samples(context.workspace)
        parts = {m: gallery_parts(context, m, samples) for m in modalities}
        fitted = fit_directions(context, vectors, parts)

        def write() -> None:
            last = read_fitted(tables, space.name)
            forget_fitted(tables, space.name)
            for modality in modalities:
                _write_gallery(context, modality, parts[modality], vectors, fitted, last)
            write_fitted(tables, space.name, fitted.values())

        return publish(
            tables,
            run,
            counts=Counts(
                sum(len(pc.unique(_part_ids(samples, m))) for m in modalities),
                sum(p.num_rows for p in parts.values()),
                failed=_count_failed(tables, samples, modalities),
            ),
            entries=[],
            write=write,
            output=lambda: key,
        )


def _write_gallery(
    context: StageContext,
    modality: str,
    parts: pa.Table,
    vectors: TableVersion,
    fitted: dict[str, FittedDirection],
    last: dict[str, FittedDirection],
) -> None:
    """Compile and publish one gallery.

    Args:
        parts: its parts, as `gallery_parts` returns them.
        vectors: the table of vectors.
        fitted: the directions of all galleries, by name.
        last: the directions that the stored galleries were compiled with.
    """
    tables, space = context.tables, context.space
    name = gallery_table(space.name, modality)
    banks = Banks(tables.open(bank_table(space.name)).to_table())
    last_gallery = tables.open(name) if tables.exists(name) else None
    changed = changed_clusters(tables, space.name, modality, fitted, last, banks)
    spec = _gallery_spec(modality, vectors, fitted, banks)
    rows = gallery_rows(
        mark_reusable(parts, last_gallery, changed),
        spec,
        vectors,
        TableVersion(tables, "samples", tables.version("samples")),
        None if last_gallery is None else TableVersion(tables, name, last_gallery.version),
        num_gpus=context.config.engine.ray.num_gpus,
    )
    tables.replace(name, spec.schema, rows, None)


def _gallery_spec(
    modality: str, vectors: TableVersion, fitted: dict[str, FittedDirection], banks: Banks
) -> GallerySpec:
    """What is compiled into the gallery of a modality."""
    by_query = {f.direction.query: f for f in fitted.values() if f.direction.gallery == modality}
    fits = {
        query: fit_spec(banks, f.direction)
        for query, f in by_query.items()
        if f.direction.method != "none"
    }
    queries = {
        query: k_occurrence.counted_queries(banks.queries(query), query == modality)._replace(
            floor=f.floor
        )
        for query, f in by_query.items()
        if f.floor is not None
    }
    return GallerySpec(
        modality,
        dim=_dim(vectors),
        fits=FitPlan.of(fits),
        centres={query: f.direction.centre for query, f in by_query.items()},
        queries=queries,
    )


def _dim(vectors: TableVersion) -> int:
    return vectors.open().schema.field("vector").type.list_size


def _count_failed(tables: Tables, samples: pa.Table, modalities: Iterable[str]) -> int:
    """The number of parts of kept samples that no encoder could embed, by the ledger."""
    entries = tables.scan("ledger", schema.LEDGER, ["id"], one_of("stage", ["vectors"]))
    failed = pc.drop_null(pc.unique(entries["id"].combine_chunks()))
    return sum(
        pc.sum(pc.is_in(pc.unique(_part_ids(samples, m)), value_set=failed)).as_py() or 0
        for m in modalities
    )


def _part_ids(samples: pa.Table, modality: str) -> pa.Array:
    return pc.drop_null(samples[f"{modality}_id"].combine_chunks())
