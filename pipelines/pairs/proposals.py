"""Adds proposed captions to the rows of `pairs`, once the mismatches of all drops are known."""

from collections.abc import Iterator

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pairs.embedded_samples import EmbeddedSamples
from pipelines.pairs.measure import PairScorer
from pipelines.pairs.repair import Calibration, CaptionMatcher
from pipelines.pairs.vector_table import VectorTable
from store.tables import schema
from store.tables.signals import REPAIR_TYPES
from store.tables.staging import StageRun
from store.tables.table_version import take_rows

_ROWS = 8192
_IS_MISMATCHED = "text_image_mismatch > 0.5"
_COLUMNS = ("text_repair", *REPAIR_TYPES)
_PROPOSALS = pa.schema([schema.PAIRS.field("id"), *(schema.PAIRS.field(n) for n in _COLUMNS)])


def with_proposals(
    run: StageRun,
    samples: EmbeddedSamples,
    scorer: PairScorer,
    stored: lance.LanceDataset | None,
) -> Iterator[pa.RecordBatch]:
    """The staged rows, with captions proposed for the pairs that are probably mismatched.

    A mismatched pair without a proposal has a `text_repair` of 0, all other pairs have null. Any
    mismatched pair can change the proposals of the others, so stored rows follow if theirs differ.

    Args:
        run: the staging.
        samples: of the corpus, compared with the stored rows.
        scorer: with banks to which mixtures were fitted.
        stored: rows that stay unless their sample changed; None: none stay.
    """
    ids = [_mismatched(batch) for batch in run.batches(rows=_ROWS)]
    kept = pa.array([], pa.string())
    if stored is not None:
        known = stored.to_table(columns=["id"], filter=_IS_MISMATCHED)["id"]
        kept = samples.unchanged(known.combine_chunks())
    every = pa.concat_arrays([kept, *ids]).unique()
    proposals = _propose(samples.with_both("text", "image", every), scorer)
    for batch in run.batches(rows=_ROWS):
        yield _proposed(batch, proposals)
    if stored is not None and len(kept):
        scanner = stored.scanner(
            columns=schema.PAIRS.names, filter=_IS_MISMATCHED, batch_size=_ROWS
        )
        for batch in scanner.to_batches():
            last = batch.filter(pc.is_in(batch["id"], value_set=kept))
            proposed = _proposed(last, proposals)
            differs = [
                pc.not_equal(*(pc.fill_null(rows[name], none) for rows in (last, proposed)))
                for name, none in (("repair_from", ""), ("text_repair", 0))
            ]
            yield proposed.filter(pc.or_(*differs))


def _mismatched(batch: pa.RecordBatch) -> pa.Array:
    return batch["id"].filter(pc.greater(batch["text_image_mismatch"], 0.5))


def _proposed(batch: pa.RecordBatch, proposals: pa.Table) -> pa.RecordBatch:
    """Rows with these proposals in place of any others."""
    index = pc.index_in(batch["id"], value_set=proposals["id"].combine_chunks())
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns |= {name: proposals[name].combine_chunks().take(index) for name in _COLUMNS}
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema.PAIRS)


def _propose(mismatched: pa.Table, scorer: PairScorer) -> pa.Table:
    """A row for each mismatched sample (`_PROPOSALS`).

    Images and captions are matched in groups, which are random because ids are hashes. A group is
    as large as the one that the calibration was made with.
    """
    bank = scorer.banks["text", "image"]
    if bank.matching is None or not mismatched.num_rows:
        return _PROPOSALS.empty_table()
    texts, images = bank.matching
    matcher = CaptionMatcher(images, texts)
    calibration = matcher.calibrate(images, texts)
    size = 2 * len(images) // 3
    groups = [_empty(mismatched["id"])]
    if calibration is not None:
        groups = [
            _propose_in_group(mismatched.slice(start, size), matcher, calibration, scorer.table)
            for start in range(0, mismatched.num_rows, size)
        ]
    return pa.concat_tables(groups)


def _propose_in_group(
    group: pa.Table, matcher: CaptionMatcher, calibration: Calibration, table: VectorTable
) -> pa.Table:
    images, has_image = table.read(group["image_row"])
    _, first, own = np.unique(
        group["text_id"].to_numpy(zero_copy_only=False).astype(str),
        return_index=True,
        return_inverse=True,
    )
    donors = group.take(pa.array(first))
    texts, has_text = table.read(donors["text_row"])
    # Broken vectors have no similarity to anything.
    images[~has_image], texts[~has_text] = 0, 0
    if len(texts) < 2:
        return _empty(group["id"])
    best, margin = matcher.best(images, texts, own)
    is_sound = has_image & has_text[best]
    precision = np.where(is_sound, calibration(margin), np.float32(0))
    chosen = pa.array(best, mask=precision == 0)
    rows = donors["row"].take(chosen).combine_chunks()
    captions = take_rows(table.samples, rows.drop_null().to_pylist(), ["text"])
    count = pc.subtract(pc.cumulative_sum(rows.is_valid().cast(pa.int64())), 1)
    text = captions["text"].take(pc.if_else(rows.is_valid(), count, None))
    donor_ids = donors["id"].take(chosen)
    columns = [group["id"], pa.array(precision), donors["text_id"].take(chosen), text, donor_ids]
    return pa.table(columns, schema=_PROPOSALS)


def _empty(ids: pa.ChunkedArray) -> pa.Table:
    """No proposal for any of these samples."""
    nothing = [pa.nulls(len(ids), t) for t in REPAIR_TYPES.values()]
    return pa.table([ids, pa.array(np.zeros(len(ids), np.float32)), *nothing], schema=_PROPOSALS)
