"""Apply a policy to all samples: gather the columns it needs, then decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.policy import duplicate_index
from pipelines.policy.duplicate_rules import DuplicateRules, lost
from pipelines.policy.quotas import Ids, draws, select
from pipelines.policy.row_rules import RowTest, pair_signals, row_tests, shown
from pipelines.policy.signal_columns import at, packed
from pipelines.policy.verdicts import Explain, Verdicts
from store import identity
from store.config.policy import Policy
from store.errors import NotFoundError
from store.tables.names import pairs_table
from store.workspace import Workspace


@dataclass(frozen=True)
class Evidence:
    """What policies judge by: the samples' columns that they name, what `duplicates` says, and who
    the samples are. `broken` has what each test has found, as policies have many in common."""

    samples: pa.Table
    lost: DuplicateRules
    ids: Ids
    broken: dict[RowTest, np.ndarray] = field(default_factory=dict)


def gather(
    workspace: Workspace, policies: Sequence[Policy], columns: Sequence[str] = ()
) -> Evidence:
    """The evidence for some policies, with more columns of `signal_columns` if asked.

    Raises NotFoundError where one names signals of pairs and none have been measured.
    """
    wanted = [*columns, *(name for policy in policies for name in policy.columns())]
    pairs = pair_signals(wanted)
    if pairs and not workspace.tables.exists(pairs_table(workspace.config.space)):
        raise NotFoundError(
            f"the corpus has no {pairs[0]} yet, nor any signals of pairs in the space"
            f" {workspace.config.space!r}; `isotrope run` makes them"
        )
    found = duplicate_index.held(workspace.tables)
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


def _ids(workspace: Workspace, samples: pa.Table) -> Ids:
    if "id" in samples.column_names:
        return lambda rows: at(samples["id"], rows)
    signals = workspace.tables.open("signals")
    return lambda rows: identity.pack(signals.take(rows, ["id"])["id"].combine_chunks())


def _explain(test: RowTest, column: pa.ChunkedArray) -> Explain:
    def explain(rows: np.ndarray) -> tuple[pa.Array, pa.Array]:
        return shown(at(column, rows)), pa.array([test.threshold] * len(rows), pa.string())

    return explain
