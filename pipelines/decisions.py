"""decisions: which samples are kept, by the policy and over all drops. Seconds, and no model."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import keys
from pipelines.policy import Policy, apply
from store import schema
from store.stage import Counts, begin, publish
from store.workspace import Workspace

STAGE = "decisions"
_EVALUATION = "evaluation:"


def judge(workspace: Workspace, policy: Policy) -> pa.Table:
    """What a policy would decide of every sample of every drop; nothing is written."""
    signals = workspace.tables.scan("signals", schema.SIGNALS, ["drop", "id", *policy])
    decided = apply(policy, signals)
    lost = _lost(workspace, decided)
    if not lost.num_rows:
        return decided
    place = pc.index_in(_places(decided), value_set=_places(lost).combine_chunks())
    named = lost.take(place.combine_chunks())
    gone = pc.and_(pc.is_valid(named["rule"]), decided["keep"]).combine_chunks()
    columns = {c: decided[c].combine_chunks() for c in decided.schema.names}
    columns["keep"] = pc.and_(columns["keep"], pc.invert(gone))
    for name in ("rule", "value", "threshold"):
        columns[name] = pc.if_else(gone, named[name].combine_chunks(), columns[name])
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


def _lost(workspace: Workspace, decided: pa.Table) -> pa.Table:
    """(drop, id, rule, value, threshold) of samples that another one stands for, the value being
    the survivor: its drop where the content is the same, else its id. Under another policy than
    the one that duplicates were found under, what has lost its survivor is kept.
    """
    found = workspace.tables.scan("duplicates", schema.DUPLICATES)
    lost = found.filter(pc.invert(found["representative"]))
    kind, cluster = lost["kind"], lost["cluster"]
    exact, listed = pc.equal(kind, "exact"), pc.starts_with(kind, _EVALUATION)
    kept = decided.filter(decided["keep"])["id"].combine_chunks()
    stands = pc.or_(pc.or_(exact, listed), pc.is_in(cluster, value_set=kept))
    first = found.filter(pc.and_(found["representative"], pc.equal(found["kind"], "exact")))
    copy = pc.index_in(cluster, value_set=first["cluster"].combine_chunks())
    value = pc.if_else(exact, first["drop"].take(copy), cluster)
    limits = pa.array([str(v) for v in _limits(workspace).values()], pa.string())
    threshold = limits.take(
        pc.index_in(kind, value_set=pa.array(list(_limits(workspace)), pa.string()))
    )
    named = pc.replace_substring_regex(kind, f"^{_EVALUATION}", "decontamination.")
    near = pc.binary_join_element_wise("duplicate", kind, ".")
    table = {
        "drop": lost["drop"],
        "id": lost["id"],
        "rule": pc.if_else(listed, named, near),
        "value": value,
        "threshold": threshold,
    }
    return pa.table(table).filter(stands)


def _limits(workspace: Workspace) -> dict[str, int | float]:
    asked = workspace.config.duplicates.model_dump()
    return {k: asked[k] for k in ("image", "audio", "text", "semantic") if asked[k] is not None}


def _places(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["drop"], table["id"], "\n")
