"""Adds proposed captions to the rows of `pairs`, once the mismatches of all drops are known."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pairs.embedded_samples import EmbeddedSamples
from pipelines.pairs.measure import PairScorer, VectorTable
from pipelines.pairs.repair import Calibration, CaptionMatcher
from store.tables import schema
from store.tables.signals import REPAIR_TYPES
from store.tables.staging import StageRun
from store.tables.table_version import take_rows

_ROWS = 8192
_COLUMNS = ("text_repair", *REPAIR_TYPES)
_PROPOSALS = pa.schema([schema.PAIRS.field("id"), *(schema.PAIRS.field(n) for n in _COLUMNS)])


def with_proposals(
    run: StageRun, samples: EmbeddedSamples, scorer: PairScorer
) -> Iterator[pa.RecordBatch]:
    """The staged rows, with captions proposed for the pairs that are probably mismatched.

    A mismatched pair without a proposal has a `text_repair` of 0, all other pairs have null.
    """
    mismatched = [
        batch["id"].filter(pc.greater(batch["text_image_mismatch"], 0.5))
        for batch in run.batches(rows=_ROWS)
    ]
    ids = pa.concat_arrays([pa.array([], pa.string()), *mismatched]).unique()
    proposals = _propose(samples.with_both("text", "image", ids), scorer)
    value_set = proposals["id"].combine_chunks()
    for batch in run.batches(rows=_ROWS):
        index = pc.index_in(batch["id"], value_set=value_set)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns |= {name: proposals[name].combine_chunks().take(index) for name in _COLUMNS}
        yield pa.RecordBatch.from_arrays(list(columns.values()), schema=schema.PAIRS)


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
