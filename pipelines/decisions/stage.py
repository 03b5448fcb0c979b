"""Decide which samples are kept, by the policy of corpus.yaml and over all drops.

It reads signals and the table `duplicates`, and runs no model but for new names of concepts, so a
changed threshold costs seconds. The phases of a policy are described in `pipelines.policy.judge`.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.decisions.columns_in_files import in_files
from pipelines.policy import duplicate_index
from pipelines.policy.column_files import Columns
from pipelines.policy.concept_vectors import encode_concepts
from pipelines.policy.judge import gather_evidence, judge
from pipelines.policy.row_rules import policy_hash
from pipelines.policy.verdicts import Verdicts
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.tables import schema
from store.tables.signals import REPAIR_TYPES
from store.tables.staging import Counts, begin, publish

STAGE = "decisions"
_BATCH_ROWS = 1 << 16


def decide(context: StageContext) -> Counts:
    """Make the table `decisions`, and cache the index of duplicates for `isotrope whatif`.

    Raises:
        NotFoundError: duplicates, or signals of pairs that the policy names, do not exist yet.
        ConservationError: a sample has no decision; nothing was published.
    """
    tables, policy = context.tables, context.config.policy
    key = run_keys.decisions(context)
    with begin(tables, STAGE, key, schema.DECISIONS) as run:
        digest = duplicate_index.tables_digest(
            tables
        )  # computed first, so that it is never newer than the index
        if policy.concepts is not None and policy.concepts.by_vectors:
            encode_concepts(context.workspace, policy.concepts)
        repairs = list(REPAIR_TYPES) if policy.repairs else []
        read = partial(in_files, context.workspace, run.scratch)
        evidence = gather_evidence(context.workspace, [policy], ["id", *repairs], read)
        duplicate_index.write_cache(tables, evidence.duplicates.index, digest)
        verdicts = judge(evidence, policy)
        kept = int(verdicts.kept.sum())
        total = tables.open("samples").count_rows()
        rejected = evidence.samples.num_rows - kept
        rows = _rows(evidence.samples, verdicts, policy_hash(policy))
        return publish(
            tables,
            run,
            counts=Counts(input=total, kept=kept, rejected=rejected),
            entries=[],
            write=lambda: tables.replace(STAGE, schema.DECISIONS, rows, None),
            output=lambda: key,
        )


def _rows(samples: Columns, verdicts: Verdicts, policy: str) -> Iterator[pa.RecordBatch]:
    """Rows of `decisions`, in the order of `samples`."""
    kept = verdicts.kept
    names = [n for n in ("drop", "id", *REPAIR_TYPES) if n in samples.column_names]
    for start in range(0, samples.num_rows, _BATCH_ROWS):
        batch = pa.table({name: samples[name].slice(start, _BATCH_ROWS) for name in names})
        columns = [
            batch["drop"].cast(pa.string()).combine_chunks(),
            identity.unpack_ids(batch["id"].combine_chunks()),
            pa.array(kept[start : start + _BATCH_ROWS]),
            *verdicts.reasons(start, start + batch.num_rows),
            pa.array([policy] * batch.num_rows, pa.string()),
            *_repairs(batch, kept[start : start + _BATCH_ROWS]),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema.DECISIONS)


def _repairs(samples: pa.Table, kept: np.ndarray) -> list[pa.Array]:
    """The captions that replace those of kept samples; null where none does.

    A sample that has a proposal and is kept passed the policy's rule for it.
    """
    if not set(REPAIR_TYPES) <= set(samples.column_names):
        return [pa.nulls(len(kept), t) for t in REPAIR_TYPES.values()]
    columns = (samples[n].combine_chunks().cast(t) for n, t in REPAIR_TYPES.items())
    return [pc.if_else(pa.array(kept), column, None) for column in columns]
