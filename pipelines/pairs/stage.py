"""Makes the table `pairs__{space}`: the signals of pairs of all drops.

The stage is global: pairs are compared with random others from the whole corpus, and the values do
not depend on the order in which drops arrived. If the random draw changes, every value changes, so
all rows are made again. That costs the product of samples and bank rows. Rows are streamed, in
memory of bounded size.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa

from embedders.spaces import Space
from pipelines.engine.progress import show_progress
from pipelines.pairs.embedded_samples import EmbeddedSamples, embedded_samples
from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.measure import PairScorer, VectorTable
from pipelines.pairs.proposals import with_proposals
from pipelines.stages import run_keys
from pipelines.stages.config_files import pair_head
from pipelines.stages.context import StageContext
from store import identity
from store.errors import ConfigError
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import pairs_table, vectors_table
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish, stage_record
from store.tables.table_version import TableVersion
from store.workspace import Workspace

STAGE = "pairs"
_TILE = 4096  # samples that are measured at a time: a few megabytes of vectors per modality
_UNIT = 16 * _TILE  # samples that are committed together


def measure_pairs(context: StageContext) -> Counts:
    """Make the corpus's `pairs__{space}`: one row for each sample of each drop.

    The table is kept if the same samples have the same vectors as when it was made (for example
    after a change of the policy, or when a drop was read again), unless the run is forced.

    Raises:
        NotFoundError: there are no vectors yet, or the file of the linear head is missing.
        ConfigError: the linear head does not fit the vectors of this space.
        EncoderError: the file of the linear head holds something else.
        ConservationError: a sample has no row; nothing was published.
    """
    tables, space = context.tables, context.space
    key, name = run_keys.pairs(context), pairs_table(space.name)
    table = _vector_table(tables, space)
    head = _head(context.workspace, space, table.dim)
    with begin(tables, context.name_of(STAGE), key, schema.PAIRS) as run:
        before = stage_record(tables, context.name_of(STAGE))
        resumed = len(run.done())
        with embedded_samples(tables, space, table.vectors.version, run.scratch) as samples:
            output = identity.run_key(samples.digest(), run_keys.pair_settings(context))
            unchanged = not context.forced and before is not None and before["output"] == output
            if not (unchanged and _count_rows(tables, name) == samples.count):
                scorer = PairScorer(samples, table, context.config.pairs, head)
                _stage(run, samples, scorer)
                rows = (
                    partial(with_proposals, run, samples, scorer)
                    if context.config.pairs.repair
                    else partial(run.batches, rows=8192)
                )
                return publish(
                    tables,
                    run,
                    counts=Counts(input=samples.count, kept=run.counts().kept),
                    entries=run.entries(),
                    write=lambda: tables.replace(name, schema.PAIRS, rows(), None),
                    output=lambda: output,
                    resumed=resumed,
                )
            return publish(
                tables,
                run,
                counts=Counts(input=samples.count, kept=samples.count),
                entries=_ledger_entries(tables, context.name_of(STAGE)),
                write=lambda: None,
                output=lambda: output,
            )


def _stage(run: StageRun, samples: EmbeddedSamples, scorer: PairScorer) -> None:
    """Stage the rows of all samples that an interrupted run has not staged."""
    done = set(run.done())
    with show_progress(run, -(-samples.count // _UNIT)):
        for number, rows in enumerate(samples.tiles(_UNIT)):
            if (unit := f"samples-{number:06d}") not in done:
                batches, entries = _measure(rows, scorer)
                outcome = partial(UnitOutcome, rows.num_rows, rows.num_rows, entries)
                run.append(unit, batches, outcome)


def _measure(rows: pa.Table, scorer: PairScorer) -> tuple[list[pa.RecordBatch], list[Entry]]:
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


def _count_rows(tables: Tables, name: str) -> int:
    """The number of rows of a table; -1 if it does not exist."""
    dataset = tables.open_or_none(name)
    return -1 if dataset is None else dataset.count_rows()


def _ledger_entries(tables: Tables, stage: str) -> list[Entry]:
    """The entries of this stage that are in the ledger."""
    columns = [f for f in schema.LEDGER.names if f not in ("drop", "stage")]
    rows: list[dict[str, Any]] = tables.scan(
        "ledger", schema.LEDGER, columns, f"stage = {quote(stage)}"
    ).to_pylist()
    return [Entry(**row) for row in rows]
