"""decisions: which samples are kept, by the policy and over all drops. Seconds, and no model.

Three phases: rules that look at one sample alone, of signals and of pairs' signals; duplicates and
contamination among those that pass them; selection among those that are left. The first that
rejects a sample is the one named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines import keys, lost_rows
from pipelines.lost import Lost, lost
from pipelines.measured import at, packed
from pipelines.policy import RowTest, pair_signals, policy_hash, row_tests, shown
from pipelines.selection import Ids, draws, select
from pipelines.verdicts import Explain, Verdicts
from store import identity, schema
from store.config_policy import Policy
from store.errors import NotFoundError
from store.stage import Counts, begin, publish
from store.workspace import Workspace

STAGE = "decisions"
_ROWS = 1 << 16


@dataclass(frozen=True)
class Evidence:
    """What policies judge by: the samples' columns that they name, what `duplicates` says, and who
    the samples are. `broken` has what each test has found, as policies have many in common."""

    samples: pa.Table
    lost: Lost
    ids: Ids
    broken: dict[RowTest, np.ndarray] = field(default_factory=dict)


def gather(
    workspace: Workspace, policies: Sequence[Policy], columns: Sequence[str] = ()
) -> Evidence:
    """The evidence for some policies, with more columns of `pipelines.measured` if asked.

    Raises NotFoundError where one names signals of pairs and none have been measured.
    """
    wanted = [*columns, *(name for policy in policies for name in policy.columns())]
    pairs = pair_signals(wanted)
    if pairs and not workspace.tables.exists(schema.pairs_table(workspace.config.space)):
        raise NotFoundError(
            f"the corpus has no {pairs[0]} yet, nor any signals of pairs in the space"
            f" {workspace.config.space!r}; `isotrope run` makes them"
        )
    found = lost_rows.held(workspace.tables)
    if found is None or any(draws(policy) for policy in policies):
        wanted.append("id")
    samples = packed(workspace, wanted)
    return Evidence(samples, lost(workspace, found, samples), _ids(workspace, samples))


def judge(evidence: Evidence, policy: Policy) -> Verdicts:
    """What a policy decides of every sample; nothing is written."""
    samples = evidence.samples
    verdicts = Verdicts(samples.num_rows)
    for test in row_tests(policy):
        column, known = samples[test.signal], evidence.broken
        if test not in known:
            known[test] = test.broken(column)
        rows = np.flatnonzero(known[test] & verdicts.kept)
        verdicts.reject(test.name, rows, _explain(test, column))
    for rule, rows, explain in evidence.lost.rejected(verdicts.kept):
        verdicts.reject(rule, rows, explain)
    select(policy, samples, evidence.ids, verdicts)
    return verdicts


def decide(workspace: Workspace) -> Counts:
    """Make the `decisions` table under the policy of corpus.yaml.

    Raises:
        NotFoundError: duplicates, or signals of pairs that the policy names, are yet to be made.
        ConservationError: a sample has no decision; nothing was published.
    """
    tables, policy = workspace.tables, workspace.config.policy
    key = keys.decisions(workspace)
    with begin(tables, STAGE, key, schema.DECISIONS) as run:
        files = lost_rows.files(tables)
        evidence = gather(workspace, [policy], ["id"])
        lost_rows.hold(tables, evidence.lost.rows, files)
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


def _ids(workspace: Workspace, samples: pa.Table) -> Ids:
    if "id" in samples.column_names:
        return lambda rows: at(samples["id"], rows)
    signals = workspace.tables.open("signals")
    return lambda rows: identity.pack(signals.take(rows, ["id"])["id"].combine_chunks())


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


def _explain(test: RowTest, column: pa.ChunkedArray) -> Explain:
    def explain(rows: np.ndarray) -> tuple[pa.Array, pa.Array]:
        return shown(at(column, rows)), pa.array([test.threshold] * len(rows), pa.string())

    return explain
