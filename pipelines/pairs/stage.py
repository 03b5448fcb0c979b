"""The stage: the signals of pairs of all drops, as one table a space.

Global: the random others that pairs are compared with are drawn from the whole corpus, and values
do not depend on the order in which drops arrived. A draw that changes changes every value, so all
rows are made again then; they cost rows times bank products. Streams, in memory of bounded size.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa

from embedders.spaces import Space
from pipelines.engine.progress import watch
from pipelines.pairs.embedded_samples import Embedded, embedded
from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.measure import PairScorer, Vectors
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.errors import ConfigError
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import pairs_table, vectors_table
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish, record
from store.workspace import Workspace

STAGE = "pairs"
_TILE = 4096  # samples that are measured at a time, a few megabytes of vectors a modality
_UNIT = 16 * _TILE  # and that are committed together


def measure_pairs(context: StageContext) -> Counts:
    """Make the corpus's `pairs__{space}`: a row for every sample of every drop.

    Where the same samples have the same vectors as when the table was made (a policy was changed,
    a drop was read again), the table stays, unless the run is forced.

    Raises:
        NotFoundError: there are no vectors yet, or no file of the linear head.
        ConfigError: the linear head is not made for vectors of this space.
        EncoderError: the linear head's file holds something else.
        ConservationError: a sample has no row; nothing was published.
    """
    tables, space = context.tables, context.space
    key, name = run_keys.pairs(context), pairs_table(space.name)
    vectors = _vectors(tables, space)
    head = _head(context.workspace, space, vectors.dim)
    with begin(tables, STAGE, key, schema.PAIRS) as run:
        before = record(tables, STAGE)
        resumed = len(run.done())
        with embedded(tables, space, vectors.version, run.folder) as samples:
            output = identity.run_key(samples.digest(), run_keys.pair_settings(context))
            same = not context.forced and before is not None and before["output"] == output
            if not (same and _rows(tables, name) == samples.count):
                _stage(run, samples, PairScorer(samples, vectors, context.config.pairs, head))
                return publish(
                    tables,
                    run,
                    counts=Counts(input=samples.count, kept=run.counts().kept),
                    entries=run.entries(),
                    write=lambda: tables.replace(name, schema.PAIRS, run.batches(rows=8192), None),
                    output=lambda: output,
                    resumed=resumed,
                )
            return publish(
                tables,
                run,
                counts=Counts(input=samples.count, kept=samples.count),
                entries=_known(tables),
                write=lambda: None,
                output=lambda: output,
            )


def _stage(run: StageRun, samples: Embedded, measure: PairScorer) -> None:
    """Stage the rows of all samples that an interrupted run has not staged."""
    done = set(run.done())
    with watch(run, -(-samples.count // _UNIT)):
        for number, rows in enumerate(samples.tiles(_UNIT)):
            if (unit := f"samples-{number:06d}") not in done:
                made, entries = _measured(rows, measure)
                run.append(unit, made, partial(UnitOutcome, rows.num_rows, rows.num_rows, entries))


def _measured(rows: pa.Table, measure: PairScorer) -> tuple[list[pa.RecordBatch], list[Entry]]:
    """Rows of `pairs`, and who has a vector that cannot be measured; while one tile is measured,
    the next one's vectors are read."""
    tiles = [rows.slice(start, _TILE) for start in range(0, rows.num_rows, _TILE)]
    made: list[pa.RecordBatch] = []
    entries: list[Entry] = []
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(measure.read, tiles[0])
        for tile, following in zip(tiles, [*tiles[1:], None], strict=True):
            read = ahead.result()
            if following is not None:
                ahead = reader.submit(measure.read, following)
            made.append(measure(tile, read))
            entries += read.entries
    return made, entries


def _vectors(tables: Tables, space: Space) -> Vectors:
    dataset = tables.open(vectors_table(space.name))
    dim = dataset.schema.field("vector").type.list_size
    samples = tables.uri("samples"), tables.version("samples")
    return Vectors(dataset.uri, int(dataset.version), dim, *samples)


def _head(workspace: Workspace, space: Space, dim: int) -> LinearHead | None:
    path = run_keys.pair_head(workspace)
    if path is None:
        return None
    head = LinearHead(path)
    if "image" not in space.towers or len(head.weight) != dim:
        has = f"vectors of {dim}" if "image" in space.towers else "no images"
        raise ConfigError(
            f"pairs.image_laion_aesthetic: {path} takes image vectors of {len(head.weight)}"
            f" dimensions, but the space {space.name!r} has {has}: a head means something only in"
            " the space that it was trained in"
        )
    return head


def _rows(tables: Tables, name: str) -> int:
    return tables.open(name).count_rows() if tables.exists(name) else -1


def _known(tables: Tables) -> list[Entry]:
    """What the ledger says of the stage."""
    columns = [f for f in schema.LEDGER.names if f not in ("drop", "stage")]
    rows: list[dict[str, Any]] = tables.scan(
        "ledger", schema.LEDGER, columns, f"stage = '{STAGE}'"
    ).to_pylist()
    return [Entry(**row) for row in rows]
