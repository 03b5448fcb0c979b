"""Makes the table `pairs__{space}`: the signals of pairs of all drops.

The stage is global: pairs are compared with a random draw from the whole corpus. The draw is kept
until the corpus has outgrown it (`pipelines.pairs.reuse`), and as long as it is, only samples that
are new or have other vectors are measured, and rows of samples that left are deleted. Without a
record of an earlier run, as after a takedown, and in a forced run, the draw is made anew and all
samples are measured. Rows are streamed, in memory of bounded size. Many samples are measured by Ray
tasks, and this process stages their rows.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import lance
import pyarrow as pa
import ray

from embedders.pool.ray_cluster import cluster
from embedders.spaces import Space
from pipelines.engine.progress import show_progress
from pipelines.engine.ray_tasks import results_in_order
from pipelines.pairs.draw import digest, draw
from pipelines.pairs.embedded_samples import Comparison, EmbeddedSamples, embedded_samples
from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.measure import PairScorer
from pipelines.pairs.proposals import with_proposals
from pipelines.pairs.reuse import kept_draw
from pipelines.pairs.vector_table import VectorTable
from pipelines.stages import run_keys
from pipelines.stages.config_files import pair_head
from pipelines.stages.context import StageContext
from store import identity
from store.config.engine import Ray
from store.errors import ConfigError
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import pair_draws_table, pairs_table, vectors_table
from store.tables.pair_draws import pair_draws
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish, stage_record
from store.tables.table_version import TableVersion
from store.workspace import Workspace

STAGE = "pairs"
_TILE = 4096  # samples that are measured at a time: a few megabytes of vectors per modality
_UNIT = 16 * _TILE  # samples that are committed together
# Samples that are worth starting Ray for, which is 20 seconds of work, or its tasks if this process
# is connected already.
_WORTH, _WORTH_CONNECTED = 400_000, 100_000


def measure_pairs(context: StageContext) -> Counts:
    """Make the corpus's `pairs__{space}`: one row for each sample of each drop.

    Raises:
        NotFoundError: there are no vectors yet, or the file of the linear head is missing.
        ConfigError: the linear head does not fit the vectors of this space.
        EncoderError: the file of the linear head holds something else.
        ConservationError: a sample has no row; nothing was published.
    """
    tables, space, settings = context.tables, context.space, context.config.pairs
    key, stage = run_keys.pairs(context), context.name_of(STAGE)
    name, draws = pairs_table(space.name), pair_draws_table(space.name)
    table = _vector_table(tables, space)
    head = _head(context.workspace, space, table.dim)
    columns = pair_draws(table.dim)
    with (
        begin(tables, stage, key, schema.PAIRS) as run,
        embedded_samples(context.workspace, space, table.vectors.version, run.scratch) as samples,
    ):
        draw_key, drawn = run_keys.pair_settings(context), None
        if not context.forced and stage_record(tables, stage) is not None:
            drawn = kept_draw(tables, draws, columns, draw_key, samples, settings)
        stored = None if drawn is None else tables.open_or_none(name)
        if drawn is None:
            drawn = draw(samples, table, settings, draw_key)
        scorer = PairScorer(drawn, table, settings, head)
        comparison = Comparison(samples.count, 0, 0, "all")
        if stored is not None:
            broken = tables.scan("ledger", schema.LEDGER, ["id"], f"stage = {quote(stage)}")
            last = TableVersion(tables, name, stored.version)
            comparison = samples.compare(last, scorer.needed, broken)
        output = identity.run_key(samples.digest(), draw_key, digest(drawn))
        with ExitStack() as stack:
            on_ray = _use_ray(stack, context.config.engine.ray, comparison.changed)
            resumed = _stage(run, samples, scorer, comparison, output, on_ray=on_ray)

        def write() -> None:
            rows = _rows(run, samples, scorer, stored, settings.repair)
            if stored is None:
                tables.replace(draws, columns, drawn.to_batches(), None)
                tables.replace(name, schema.PAIRS, rows, None)
            elif comparison.changed or comparison.removed:
                tables.upsert(name, schema.PAIRS, rows, "id", removed=samples.removed())

        return publish(
            tables,
            run,
            counts=Counts(input=samples.count, kept=comparison.unchanged + run.counts().kept),
            entries=run.entries(),
            write=write,
            output=lambda: output,
            resumed=resumed,
        )


def _rows(
    run: StageRun,
    samples: EmbeddedSamples,
    scorer: PairScorer,
    stored: lance.LanceDataset | None,
    repair: bool,
) -> Iterator[pa.RecordBatch]:
    return with_proposals(run, samples, scorer, stored) if repair else run.batches(rows=8192)


def _use_ray(stack: ExitStack, settings: Ray, samples: int) -> bool:
    """Whether so many samples are measured on Ray; it is then connected until the stack closes."""
    if samples < (_WORTH_CONNECTED if ray.is_initialized() else _WORTH):
        return False
    stack.enter_context(cluster(settings.address))
    return True


def _stage(
    run: StageRun,
    samples: EmbeddedSamples,
    scorer: PairScorer,
    comparison: Comparison,
    output: str,
    *,
    on_ray: bool,
) -> int:
    """Stage the rows of the changed samples; return how many units an interrupted run had staged.

    Units that it staged for other samples or against another draw are discarded.
    """
    name = identity.run_key(output, comparison.digest)[:12]
    units = [f"samples-{name}-{n:06d}" for n in range(-(-comparison.changed // _UNIT))]
    done = set(run.discard_others(units))
    tiles = samples.tiles(_UNIT, only_changed=comparison.changed < samples.count)
    todo = [unit for unit in units if unit not in done]
    waiting = (rows for unit, rows in zip(units, tiles, strict=True) if unit not in done)
    with show_progress(run, len(units)):
        measured = results_in_order(_measure, scorer, waiting, on_ray=on_ray)
        for unit, (batches, entries) in zip(todo, measured, strict=True):
            count = sum(batch.num_rows for batch in batches)
            run.append(unit, batches, partial(UnitOutcome, count, count, entries))
    return len(done)


def _measure(scorer: PairScorer, rows: pa.Table) -> tuple[list[pa.RecordBatch], list[Entry]]:
    """Rows of `pairs`, and an entry for each vector that is not valid.

    While one tile is measured, the vectors of the next are read.
    """
    tiles = [rows.slice(start, _TILE) for start in range(0, rows.num_rows, _TILE)]
    batches: list[pa.RecordBatch] = []
    entries: list[Entry] = []
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(scorer.read, tiles[0])
        for tile, next_tile in zip(tiles, [*tiles[1:], None], strict=True):
            vectors = reading.result()
            if next_tile is not None:
                reading = reader.submit(scorer.read, next_tile)
            batches.append(scorer.score(tile, vectors))
            entries += vectors.entries
    return batches, entries


def _vector_table(tables: Tables, space: Space) -> VectorTable:
    name = vectors_table(space.name)
    dataset = tables.open(name)
    return VectorTable(
        TableVersion(tables, name, dataset.version),
        dataset.schema.field("vector").type.list_size,
        TableVersion(tables, "samples", tables.version("samples")),
    )


def _head(workspace: Workspace, space: Space, dim: int) -> LinearHead | None:
    """The linear head of corpus.yaml, if any, for image vectors of `dim` dimensions."""
    path = pair_head(workspace)
    if path is None:
        return None
    head = LinearHead(path)
    if "image" not in space.towers or len(head.weight) != dim:
        has = f"vectors of {dim}" if "image" in space.towers else "no images"
        raise ConfigError(
            f"pairs.image_laion_aesthetic: {path} takes image vectors of {len(head.weight)}"
            f" dimensions, but the space {space.name!r} has {has}: use a head that was trained in"
            " this space"
        )
    return head
