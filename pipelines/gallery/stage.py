"""Build the galleries: what search reads, with the chosen corrections compiled into it (Ray).

One gallery a modality, one row a part of a kept sample. A build takes three steps:

1. `GalleryParts`: collect the parts of each gallery.
2. `fit_directions`: choose a correction for each pair of query modality and gallery. The last
   choice is kept until the banks or the settings change.
3. `_write_gallery`: compile the corrections into rows, and publish them. Rows of the last gallery
   that would come out the same are neither made nor written again. Few rows are made without Ray.
   Moments of parts are compiled beside them (`pipelines.gallery.moments`).
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from embedders.pool.ray_cluster import cluster
from embedders.pool.resources import Resources, require_room
from pipelines.decisions.kept_samples import KeptSamples, kept_samples
from pipelines.gallery import k_occurrence
from pipelines.gallery.choose_correction import fit_spec
from pipelines.gallery.directions import Fitted, fit_directions
from pipelines.gallery.fit import FitPlan
from pipelines.gallery.fitted_directions import (
    FittedDirection,
    forget_fitted,
    read_fitted,
    write_fitted,
)
from pipelines.gallery.moments import write_moments
from pipelines.gallery.parts import GalleryParts, drop_outputs
from pipelines.gallery.reuse import changed_clusters
from pipelines.gallery.rows import TILE, GallerySpec, Inputs, gallery_rows
from pipelines.gallery.words import fit_words
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.config.engine import Ray
from store.tables import schema
from store.tables.banks import Banks
from store.tables.lance_tables import Tables, one_of
from store.tables.names import bank_table, gallery_table, vectors_table
from store.tables.staging import Counts, begin, publish
from store.tables.table_version import TableVersion
from store.tables.words import ItemWords, write_words

STAGE = "gallery"
# Rows that are made in this process: to start Ray, or two of its workers, takes as long.
_FEW = TILE
_REPAIRS = """
SELECT "drop", sum(hash(id, repair_text)::HUGEINT) AS digest
FROM kept WHERE in_range(id) AND repair_text IS NOT NULL GROUP BY "drop"
"""
_OF_DROPS = 'SELECT "drop", sum(digest) AS digest FROM repairs GROUP BY "drop"'
_FAILED = """
SELECT DISTINCT {m}_id FROM kept SEMI JOIN entries ON entries.id = {m}_id WHERE in_range({m}_id)
"""


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
    with ExitStack() as stack:
        run = stack.enter_context(begin(tables, context.name_of(STAGE), key, schema.gallery(dim)))
        use_ray = partial(_use_ray, stack, context.config.engine.ray)
        samples = stack.enter_context(kept_samples(context.workspace, run.scratch))
        parts = {
            m: GalleryParts(samples, vectors, m, fingerprint)
            for m, fingerprint in context.fingerprints.items()
        }
        fitted = fit_directions(context, parts, _drop_outputs(tables, samples), use_ray)
        words = fit_words(context, samples)

        def write() -> None:
            last = read_fitted(tables, space.name)
            forget_fitted(tables, space.name)
            if words is not None:
                write_words(tables, space.name, words)
            banks = Banks(tables.open(bank_table(space.name)))
            compiled = Compiled(fitted, last, words, banks)
            for modality in modalities:
                _write_gallery(context, modality, parts[modality], vectors, compiled, use_ray)
            write_fitted(tables, space.name, fitted.directions.values())

        return publish(
            tables,
            run,
            counts=Counts(
                sum(p.kept for p in parts.values()),
                sum(p.count for p in parts.values()),
                failed=_count_failed(tables, samples, modalities),
            ),
            entries=[],
            write=write,
            output=lambda: key,
        )


def _use_ray(stack: ExitStack, settings: Ray, rows: int) -> bool:
    """Whether work on so many rows is done on Ray; it is then connected until the stack closes."""
    if rows <= _FEW and not settings.num_gpus:
        return False
    stack.enter_context(cluster(settings.address))
    require_room(1, Resources(num_gpus=settings.num_gpus), settings.wait_seconds)
    return True


class Compiled(NamedTuple):
    """What is compiled into the galleries.

    Attributes:
        fitted: the directions of all galleries.
        last: the directions that the stored galleries were compiled with.
        words: what gives words to items; None: they get none.
        banks: of the space; all galleries share what is read from them.
    """

    fitted: Fitted
    last: dict[str, FittedDirection]
    words: ItemWords | None
    banks: Banks


def _write_gallery(
    context: StageContext,
    modality: str,
    parts: GalleryParts,
    vectors: TableVersion,
    compiled: Compiled,
    use_ray: Callable[[int], bool],
) -> None:
    """Compile and publish one gallery.

    Args:
        parts: its parts.
        vectors: the table of vectors.
        compiled: what is compiled into the galleries.
        use_ray: whether work on so many rows is done on Ray, which is then connected.
    """
    tables, space = context.tables, context.space
    fitted, last = compiled.fitted.directions, compiled.last
    name = gallery_table(space.name, modality)
    banks = compiled.banks
    last_gallery = tables.open_or_none(name)
    changed = changed_clusters(tables, space.name, modality, fitted, last, banks)
    spec = gallery_spec(modality, vectors, compiled.fitted, banks, compiled.words)
    unchanged: set[str] = set()
    if (
        last
        and last_gallery is not None
        and set(spec.schema.names) <= set(last_gallery.schema.names)
    ):
        unchanged = drop_outputs(next(iter(fitted.values())).drops, next(iter(last.values())).drops)
    stored = None if last_gallery is None else TableVersion(tables, name, last_gallery.version)
    comparison = parts.compare(stored, changed, unchanged)
    inputs = _inputs(tables, vectors, stored)
    tiles = parts.tiles(tables, TILE, comparison.is_small)
    num_gpus = context.config.engine.ray.num_gpus
    on_ray = use_ray(comparison.changed if comparison.is_small else parts.count)
    rows = gallery_rows(tiles, spec, inputs, on_ray=on_ray, num_gpus=num_gpus)
    if comparison.is_small:
        tables.upsert(name, spec.schema, rows, "part_id", removed=parts.removed())
    else:
        tables.replace(name, spec.schema, rows, None)
    write_moments(context, parts.samples, spec, inputs, changed, unchanged, use_ray)


def _inputs(tables: Tables, vectors: TableVersion, last: TableVersion | None) -> Inputs:
    signals = tables.open("signals")
    present = [name for name in schema.SIGNAL_TYPES if name in signals.schema.names]
    return Inputs(
        samples=TableVersion(tables, "samples", tables.version("samples")),
        signals=TableVersion(tables, "signals", int(signals.version)),
        signal_columns=present,
        vectors=vectors,
        last=last,
    )


def _drop_outputs(tables: Tables, samples: KeptSamples) -> dict[str, str]:
    """A hash of the outputs of samples and signals, and of repaired captions, of each drop."""
    rows = tables.scan(
        "stages",
        schema.STAGES,
        ["drop", "stage", "output"],
        one_of("stage", ["samples", "signals"]),
    )
    outputs: dict[str, dict[str, str]] = {}
    for row in rows.to_pylist():
        outputs.setdefault(row["drop"], {})[row["stage"]] = row["output"]
    samples.scratch.create("repairs", _REPAIRS, kept="id")
    repairs = samples.scratch.select(_OF_DROPS, "repairs")
    for row in repairs.to_pylist():
        outputs.setdefault(row["drop"], {})["repairs"] = str(int(row["digest"]))
    return {drop: identity.run_key(by_stage) for drop, by_stage in outputs.items()}


def gallery_spec(
    modality: str,
    vectors: TableVersion,
    fitted: Fitted,
    banks: Banks,
    words: ItemWords | None = None,
) -> GallerySpec:
    """What is compiled into the gallery of a modality."""
    own = (f for f in fitted.directions.values() if f.direction.gallery == modality)
    by_query = {f.direction.query: f for f in own}
    fits = {
        query: fit_spec(banks, f.direction)
        for query, f in by_query.items()
        if f.direction.method != "none"
    }
    queries = {
        query: k_occurrence.counted_queries(banks.queries(query), query == modality)._replace(
            floor=f.floor, nearest=fitted.nearest.get(f.direction.name)
        )
        for query, f in by_query.items()
        if f.floor is not None
    }
    return GallerySpec(
        modality,
        dim=_dim(vectors),
        fits=FitPlan.of(fits),
        directions={query: f.direction for query, f in by_query.items()},
        queries=queries,
        words=words,
    )


def _dim(vectors: TableVersion) -> int:
    return vectors.open().schema.field("vector").type.list_size


def _count_failed(tables: Tables, samples: KeptSamples, modalities: Iterable[str]) -> int:
    """The number of parts of kept samples that no encoder could embed, by the ledger."""
    where = "stage = 'vectors' AND outcome != 'unmeasured'"
    entries = tables.scan("ledger", schema.LEDGER, ["id"], where)
    if not entries.num_rows:
        return 0
    scratch, failed = samples.scratch, 0
    scratch.load("entries", entries)
    for m in modalities:
        scratch.create("failed", _FAILED.format(m=m), kept=f"{m}_id")
        failed += scratch.count("failed")
    return failed
