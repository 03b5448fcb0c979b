"""decisions: which samples are kept, by the policy and over all drops. Seconds, and no model."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import keys
from pipelines.policy import Policy, apply
from store import schema
from store.stage import Counts, begin, publish
from store.workspace import Workspace

STAGE = "decisions"


def judge(workspace: Workspace, policy: Policy) -> pa.Table:
    """What a policy would decide of every sample of every drop; nothing is written."""
    signals = workspace.tables.scan("signals", schema.SIGNALS, ["drop", "id", *policy])
    decided = apply(policy, signals)
    copies = _copies(workspace)
    if not copies.num_rows:
        return decided
    survivor = dict(zip(_places(copies).to_pylist(), copies["survivor"].to_pylist(), strict=True))
    stands_for = pa.array([survivor.get(p) for p in _places(decided).to_pylist()], pa.string())
    repeated = pc.and_(pc.is_valid(stands_for), decided["keep"].combine_chunks())
    columns = {c: decided[c].combine_chunks() for c in decided.schema.names}
    columns["keep"] = pc.and_(columns["keep"], pc.invert(repeated))
    columns["rule"] = pc.if_else(repeated, "duplicate", columns["rule"])
    columns["value"] = pc.if_else(repeated, stands_for, columns["value"])
    return pa.Table.from_arrays(list(columns.values()), schema=schema.DECISIONS)


def decide(workspace: Workspace) -> Counts:
    """Make the `decisions` table under the policy of corpus.yaml.

    Raises:
        ConservationError: a sample has no decision; nothing was published.
    """
    tables = workspace.tables
    key = keys.decisions(workspace)
    with begin(tables, STAGE, key, schema.DECISIONS) as run:
        decided = judge(workspace, workspace.config.policy)
        kept = pc.sum(decided["keep"].cast(pa.int64())).as_py() or 0
        total = tables.open("samples").count_rows()
        return publish(
            tables,
            run,
            counts=Counts(input=total, kept=kept, rejected=decided.num_rows - kept),
            entries=[],
            write=lambda: tables.replace(STAGE, schema.DECISIONS, decided.to_batches(), None),
            output=lambda: key,
        )


def _copies(workspace: Workspace) -> pa.Table:
    """(drop, id, cluster's representative drop) of samples that another one stands for."""
    found = workspace.tables.scan("duplicates", schema.DUPLICATES)
    first = found.filter(found["representative"]).select(["cluster", "drop"])
    first = first.rename_columns(["cluster", "survivor"])
    others = found.filter(pc.invert(found["representative"]))
    return others.select(["drop", "id", "cluster"]).join(first, "cluster")


def _places(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["drop"], table["id"], "\n")
