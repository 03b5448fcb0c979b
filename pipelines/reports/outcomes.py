"""Counts what became of records at every stage, and which rules they were lost to.

The terminal, the corpus report, the curation page and Dagster show these numbers. They are counted
here, from the tables `stages`, `ledger` and `decisions`; the callers only format them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import load_table, query_rows, temporary_database
from store.tables import schema
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.names import kind_of
from store.tables.stages import BY_DROP, EVERY_DROP, GLOBAL
from store.workspace import Workspace

COUNTS = ("input", "kept", "rejected", "failed")
# Steps after reading are recognised by the names of the policy's rules, so that a rule of any
# kind belongs to one of them.
STEPS = {
    "rules": "pass the rules for single samples",
    "duplicates": "are not duplicates of a kept sample",
    "contamination": "are not near an evaluation sample",
    "selection": "are selected: best shares, caps, random draws",
}
_TESTS = ("min", "max", "in", "not_in", "null", "predicted")
_ERROR_CHARS = 300
_LEDGER_COLUMNS = [name for name in schema.LEDGER.names if name != "source"]
_DECISION_COLUMNS = [name for name in schema.DECISIONS.names if name != "policy"]


class StageCounts(NamedTuple):
    """Counts of a stage, of one drop or summed over drops: input = kept + rejected + failed.

    Attributes:
        stage: its name.
        drop: the drop; `EVERY_DROP` for a global stage or a sum.
        input: samples or parts that the stage was given.
        kept: those that it passed on.
        rejected: those that a rule took out.
        failed: those that raised an error.
        seconds: wall-clock time of the stage.
        published_at: when its table was published; None where the counts come from `decisions`.
    """

    stage: str
    drop: str
    input: int
    kept: int
    rejected: int
    failed: int
    seconds: float
    published_at: datetime | None


class Reason(NamedTuple):
    """A reason why records of a drop were lost: how many, and one of them as an example."""

    drop: str
    stage: str
    outcome: str
    rule: str
    records: int
    key: str | None
    id: str | None
    value: str | None
    threshold: str | None
    error: str | None


@dataclass(frozen=True)
class RuleTotal:
    """Records lost to one rule of one stage, over drops and thresholds.

    Attributes:
        example: one of the records; its reason counts only those of its drop and threshold.
        thresholds: how many different thresholds the rule had.
    """

    stage: str
    outcome: str
    rule: str
    records: int
    example: Reason
    thresholds: int


class FunnelStep(NamedTuple):
    """A step of the funnel: how many records are left after it, and what each rule took."""

    name: str
    left: int
    lost: list[tuple[str, int]]


@dataclass(frozen=True)
class Outcomes:
    """What became of the records of some drops.

    Attributes:
        stages: counts of every stage and drop, in the order of the data.
        kept: samples that the decisions keep, by drop.
        reasons: why the others were lost, the most frequent first. Those of `decisions` are
            listed by rule and threshold.
    """

    stages: list[StageCounts]
    kept: dict[str, int] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)

    def of_drop(self, drop: str | None) -> "Outcomes":
        """The outcomes of one drop; None: of all."""
        if drop is None:
            return self
        return Outcomes(
            [counts for counts in self.stages if counts.drop == drop],
            {name: count for name, count in self.kept.items() if name == drop},
            [reason for reason in self.reasons if reason.drop == drop],
        )

    @property
    def drops(self) -> list[str]:
        """The drops that were read or decided, sorted."""
        return sorted({*(c.drop for c in self.stages if c.stage == "samples"), *self.kept})

    @property
    def thresholds(self) -> set[tuple[str, str | None]]:
        """(rule, threshold) pairs that samples were rejected by."""
        return {(r.rule, r.threshold) for r in self.reasons if r.stage == "decisions"}

    def by_drop(self) -> dict[str, list[StageCounts]]:
        """Counts of each drop in the order of the data, with its share of the decisions last."""
        listed: dict[str, list[StageCounts]] = {}
        for counts in self.stages:
            if counts.drop != EVERY_DROP:
                listed.setdefault(counts.drop, []).append(counts)
        for drop, rows in listed.items():
            kept, rejected = self.kept.get(drop, 0), self._rejected(drop)
            if kept or rejected:
                total = kept + rejected
                rows.append(StageCounts("decisions", drop, total, kept, rejected, 0, 0.0, None))
        return dict(sorted(listed.items()))

    def totals(self) -> dict[str, StageCounts]:
        """Counts of each stage over all drops, in the order of the data."""
        groups: dict[str, list[StageCounts]] = {}
        for counts in self.stages:
            groups.setdefault(counts.stage, []).append(counts)
        return {stage: total_counts(rows) for stage, rows in groups.items()}

    def _rejected(self, drop: str) -> int:
        return sum(r.records for r in self.reasons if (r.stage, r.drop) == ("decisions", drop))


_KEPT = "SELECT drop, count(*) AS kept FROM decisions WHERE keep GROUP BY drop"
_DECIDED = """
SELECT drop, 'decisions' AS stage, 'rejected' AS outcome, rule, threshold, count(*) AS records,
       min_by({'id': id, 'value': value}, id) AS example
FROM decisions WHERE NOT keep GROUP BY ALL
"""
_LOST = f"""
SELECT drop, stage, outcome, rule, count(*) AS records,
       min_by({{'key': key, 'id': id, 'value': value, 'threshold': threshold,
               'error': left(error, {_ERROR_CHARS})}}, key) AS example
FROM ledger GROUP BY ALL
"""


def read_stages(tables: Tables, drop: str | None = None) -> list[StageCounts]:
    """Counts of every stage, in the order of the data; `drop` restricts them to one drop."""
    where = None if drop is None else f"drop = {quote(drop)}"
    rows = tables.scan("stages", schema.STAGES, StageCounts._fields, where).to_pylist()
    order = [*BY_DROP, *GLOBAL]
    counts = (StageCounts(**row) for row in rows)
    return sorted(counts, key=lambda c: (order.index(kind_of(c.stage)), c.stage, c.drop))


def total_counts(rows: Sequence[StageCounts]) -> StageCounts:
    """The sums of the counts of a stage over drops."""
    sums = {name: sum(getattr(row, name) for row in rows) for name in (*COUNTS, "seconds")}
    return StageCounts(rows[0].stage, EVERY_DROP, **sums, published_at=None)


def read_outcomes(workspace: Workspace, drop: str | None = None) -> Outcomes:
    """The outcomes of a corpus; `drop` restricts them to one drop."""
    with temporary_database() as connection:
        return query_outcomes(connection, workspace, drop)


def query_outcomes(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, drop: str | None = None
) -> Outcomes:
    """The outcomes of a corpus, counted in a database that other queries use as well.

    Args:
        connection: the database. The tables `ledger` and `decisions` are created in it.
        workspace: the corpus.
        drop: restricts outcomes and the two tables to this drop.
    """
    load_table(connection, workspace, "ledger", schema.LEDGER, _LEDGER_COLUMNS, drop)
    load_table(connection, workspace, "decisions", schema.DECISIONS, _DECISION_COLUMNS, drop)
    kept = {row["drop"]: row["kept"] for row in query_rows(connection, _KEPT)}
    reasons = []
    for row in [*query_rows(connection, _LOST), *query_rows(connection, _DECIDED)]:
        values: dict[str, Any] = dict.fromkeys(Reason._fields) | row | row.pop("example")
        reasons.append(Reason(**{name: values[name] for name in Reason._fields}))
    reasons.sort(key=lambda r: (-r.records, r.drop, r.rule))
    return Outcomes(read_stages(workspace.tables, drop), kept, reasons)


def read_lost(tables: Tables, most: int) -> tuple[list[dict[str, Any]], int]:
    """The first rows of the ledger, at most `most`, and how many rows it has in all."""
    if not tables.exists("ledger"):
        return [], 0
    ledger = tables.open("ledger")
    columns = ["key", "outcome", "rule", "value", "error"]
    return ledger.to_table(columns=columns, limit=most).to_pylist(), ledger.count_rows()


def total_by_rule(reasons: Iterable[Reason]) -> list[RuleTotal]:
    """Totals by stage, outcome and rule, the most frequent first.

    Args:
        reasons: the most frequent first, as in `Outcomes`; the first one of a rule gives its
            example.
    """
    groups: dict[tuple[str, str, str], list[Reason]] = {}
    for reason in reasons:
        groups.setdefault((reason.stage, reason.outcome, reason.rule), []).append(reason)
    totals = [
        RuleTotal(*name, sum(r.records for r in group), group[0], len({r.threshold for r in group}))
        for name, group in groups.items()
    ]
    return sorted(totals, key=lambda total: -total.records)


def with_keys(tables: Tables, totals: Sequence[RuleTotal]) -> list[RuleTotal]:
    """The totals with the keys of their examples: decisions name samples by id alone."""
    ids = {t.example.id for t in totals if t.example.key is None and t.example.id is not None}
    columns = ["drop", "id", "key"]
    rows = tables.scan("samples", schema.SAMPLES, columns, one_of("id", ids)).to_pylist()
    keys = {(row["drop"], row["id"]): row["key"] for row in rows}
    listed = []
    for total in totals:
        example = total.example
        key = example.key or keys.get((example.drop, example.id), example.id)
        listed.append(replace(total, example=example._replace(key=key)))
    return listed


def funnel(outcomes: Outcomes) -> list[FunnelStep]:
    """The steps from what was delivered to what is kept, without those that nothing was lost at."""
    steps = []
    read = outcomes.totals().get("samples")
    if read is not None:
        steps.append(FunnelStep("records were delivered", read.input, []))
        lost = _lost_by_rule(r for r in outcomes.reasons if r.stage == "samples")
        steps.append(FunnelStep("could be read, without repeats", read.kept, lost))
    decided = [r for r in outcomes.reasons if r.stage == "decisions"]
    kept = sum(outcomes.kept.values())
    left = kept + sum(r.records for r in decided)
    if not left:
        return steps
    for name, title in STEPS.items():
        lost = _lost_by_rule(r for r in decided if step_of(r.rule) == name)
        left -= sum(count for _, count in lost)
        if lost:
            steps.append(FunnelStep(title, left, lost))
    return [*steps, FunnelStep("are kept", kept, [])]


def step_of(rule: str) -> str:
    """The step of the funnel, a key of `STEPS`, at which a rule of `decisions` rejects samples."""
    if rule.startswith("duplicate."):
        return "duplicates"
    if rule.startswith("decontamination."):
        return "contamination"
    return "rules" if rule.rpartition(".")[2] in _TESTS else "selection"


def _lost_by_rule(reasons: Iterable[Reason]) -> list[tuple[str, int]]:
    lost = (r for r in reasons if r.outcome != "unmeasured")
    return [(total.rule, total.records) for total in total_by_rule(lost)]
