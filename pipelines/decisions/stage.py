"""decisions: which samples are kept, by the policy and over all drops. Seconds, and no model.

Three phases: rules that look at one sample alone, of signals and of pairs' signals; duplicates and
contamination among those that pass them; selection among those that are left. The first that
rejects a sample is the one named.
"""

from collections.abc import Iterator

import pyarrow as pa

from pipelines.policy import duplicate_index
from pipelines.policy.judge import gather, judge
from pipelines.policy.row_rules import policy_hash
from pipelines.policy.verdicts import Verdicts
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.tables import schema
from store.tables.staging import Counts, begin, publish

STAGE = "decisions"
_ROWS = 1 << 16


def decide(context: StageContext) -> Counts:
    """Make the `decisions` table under the policy of corpus.yaml.

    Raises:
        NotFoundError: duplicates, or signals of pairs that the policy names, are yet to be made.
        ConservationError: a sample has no decision; nothing was published.
    """
    tables, policy = context.tables, context.config.policy
    key = run_keys.decisions(context)
    with begin(tables, STAGE, key, schema.DECISIONS) as run:
        files = duplicate_index.files(tables)
        evidence = gather(context.workspace, [policy], ["id"])
        duplicate_index.hold(tables, evidence.lost.rows, files)
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


def _rows(samples: pa.Table, verdicts: Verdicts, policy: str) -> Iterator[pa.RecordBatch]:
    """Rows of `decisions`, in the order of `samples`."""
    kept = verdicts.kept
    for start in range(0, samples.num_rows, _ROWS):
        some = samples.slice(start, _ROWS)
        columns = [
            some["drop"].cast(pa.string()).combine_chunks(),
            identity.unpack(some["id"].combine_chunks()),
            pa.array(kept[start : start + _ROWS]),
            *verdicts.reasons(start, start + some.num_rows),
            pa.array([policy] * some.num_rows, pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema.DECISIONS)
