"""Apply a policy to all samples: gather the columns that it needs, then decide.

The policy has three phases: rules that look at one sample alone, duplicates and contamination
among the samples that pass, and quotas among those that are left. The first rule that rejects a
sample is the one that is recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from pipelines.policy import duplicate_index
from pipelines.policy.column_files import Columns
from pipelines.policy.concept_vectors import match_vectors
from pipelines.policy.concepts import Matches, Matching, match_captions, read_concepts, union
from pipelines.policy.coreset import ReadVectors
from pipelines.policy.duplicate_rules import DuplicateRules, duplicate_rules
from pipelines.policy.identity_order import Ids
from pipelines.policy.quotas import apply_quotas, reads_ids
from pipelines.policy.row_rules import RowTest, as_text, pair_signals, row_tests
from pipelines.policy.sample_vectors import check_vectors, read_vectors
from pipelines.policy.signal_columns import packed, take_rows
from pipelines.policy.verdicts import Explain, Verdicts
from store import identity
from store.config.policy import Policy
from store.config.rules import Concepts
from store.errors import NotFoundError
from store.tables.names import pairs_table
from store.workspace import Workspace

_BLOCK = 1 << 20  # rows that are tested at a time


@dataclass(frozen=True)
class Evidence:
    """What policies judge samples by. It can be used for several policies.

    Attributes:
        samples: the columns that the policies name, one row a sample; in memory or in files.
        duplicates: the rules of the table `duplicates`.
        ids: the packed ids of given rows.
        matches: of samples with concepts, by `Concepts.matching`.
        vectors: reads the vectors of samples, if a policy has a coreset.
        broken: a cache of the rows (samples,) bool that break each test: policies share tests. It
            is used if the columns are in memory.
    """

    samples: Columns
    duplicates: DuplicateRules
    ids: Ids
    matches: dict[Matching, Matches] = field(default_factory=dict)
    vectors: ReadVectors | None = None
    broken: dict[RowTest, np.ndarray] = field(default_factory=dict)


def gather_evidence(
    workspace: Workspace,
    policies: Sequence[Policy],
    columns: Sequence[str] = (),
    read: Callable[[list[str]], Columns] | None = None,
) -> Evidence:
    """Read the evidence that some policies need.

    Args:
        policies: the policies that will be applied.
        columns: further columns to read, as `signal_columns.packed` takes them.
        read: reads columns in place of `signal_columns.packed`, which has them in memory.

    Raises:
        NotFoundError: a policy names signals of pairs, or compares vectors, and the space has none
            yet.
    """
    names = [*columns, *(name for policy in policies for name in policy.columns())]
    pairs = pair_signals(names)
    if pairs and not workspace.tables.exists(pairs_table(workspace.config.space)):
        raise NotFoundError(
            f"the policy names {pairs[0]}, but no signals of pairs have been measured in the space"
            f" {workspace.config.space!r} yet; `isotrope run` measures them"
        )
    index = duplicate_index.read_cache(workspace.tables)
    if index is None or any(reads_ids(policy) for policy in policies):
        names.append("id")
    if any(policy.compares_vectors for policy in policies):
        check_vectors(workspace)
    lists = {p.concepts.matching: p.concepts for p in policies if p.concepts is not None}
    names = [*names, "text"] if lists else names
    samples = read(names) if read else packed(workspace, names)
    ids = _ids(workspace, samples)
    matches = {
        matching: _matches(workspace, concepts, samples, ids)
        for matching, concepts in lists.items()
    }
    if lists and isinstance(samples, pa.Table):
        samples = samples.drop_columns(["text"])
    rules = duplicate_rules(workspace, index, samples)
    return Evidence(samples, rules, ids, matches, partial(read_vectors, workspace))


def _matches(workspace: Workspace, concepts: Concepts, samples: Columns, ids: Ids) -> Matches:
    """The concepts that samples have, by their captions, by vectors, or by both."""
    names = read_concepts(workspace, concepts)
    if concepts.match == "names":
        return match_captions(samples["text"], names)
    matches = match_vectors(workspace, concepts, names, samples, ids)
    if concepts.match == "both":
        return union(match_captions(samples["text"], names), matches)
    return matches


def judge(evidence: Evidence, policy: Policy) -> Verdicts:
    """Apply a policy to every sample; nothing is written."""
    samples = evidence.samples
    verdicts = Verdicts(samples.num_rows)
    for test in row_tests(policy):
        broken = evidence.broken.get(test)
        if broken is None:
            broken = np.empty(samples.num_rows, bool)
            for start in range(0, len(broken), _BLOCK):
                column = samples[test.signal].slice(start, _BLOCK)
                broken[start : start + _BLOCK] = test.broken(column)
            if isinstance(samples, pa.Table):
                evidence.broken[test] = broken
        verdicts.reject(test.name, broken & verdicts.kept, _explain(test, samples))
    for rule, rows, explain in evidence.duplicates.rejected(verdicts.kept):
        verdicts.reject(rule, rows, explain)
    apply_quotas(policy, samples, evidence.ids, verdicts, evidence.matches, evidence.vectors)
    return verdicts


def _ids(workspace: Workspace, samples: Columns) -> Ids:
    if "id" in samples.column_names:
        return lambda rows: take_rows(samples["id"], rows)
    signals = workspace.tables.open("signals")
    return lambda rows: identity.pack_ids(signals.take(rows, ["id"])["id"].combine_chunks())


def _explain(test: RowTest, samples: Columns) -> Explain:
    def explain(rows: np.ndarray) -> tuple[pa.Array, pa.Array]:
        values = as_text(take_rows(samples[test.signal], rows))
        return values, pa.array([test.threshold] * len(rows), pa.string())

    return explain
