"""What became of the records: the funnel from delivery to what is kept, and the rules in between.

Steps after reading are told by the rules' names alone, so that rules of any kind have their place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import listed

_TESTS = ("min", "max", "in", "not_in", "null")
STEPS = {
    "rules": "pass the rules for single samples",
    "duplicates": "are no copies of what is kept",
    "contamination": "are not near to evaluation samples",
    "selection": "are taken: best shares, caps, draws",
}


class Reason(NamedTuple):
    """Why records of a drop went: how many by this rule, and one of them."""

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


class FunnelStep(NamedTuple):
    """One step of the funnel: how many are left after it, and what was lost by which rules."""

    name: str
    left: int
    lost: list[tuple[str, int]]


@dataclass(frozen=True)
class Fates:
    """Of all drops that were looked at: the stage `samples` by drop, how many are kept, and why
    the others are not. Reasons of `decisions` come by rule and threshold."""

    read: dict[str, dict[str, int]]
    kept: dict[str, int]
    reasons: list[Reason]

    def of(self, drop: str | None) -> "Fates":
        """Of one drop; None: of all."""
        if drop is None:
            return self
        return Fates(
            {name: row for name, row in self.read.items() if name == drop},
            {name: count for name, count in self.kept.items() if name == drop},
            [reason for reason in self.reasons if reason.drop == drop],
        )

    @property
    def thresholds(self) -> set[tuple[str, str | None]]:
        return {(r.rule, r.threshold) for r in self.reasons if r.stage == "decisions"}


_READ = """
SELECT drop, input, kept, rejected, failed FROM stages WHERE stage = 'samples' ORDER BY drop
"""
_DECIDED = """
SELECT drop, 'decisions' AS stage, 'rejected' AS outcome, rule, threshold, count(*) AS records,
       min_by({'id': id, 'value': value}, id) AS example
FROM decisions WHERE NOT keep GROUP BY ALL
"""
_LEDGER = """
SELECT drop, stage, outcome, rule, count(*) AS records,
       min_by({'key': key, 'id': id, 'value': value, 'threshold': threshold,
               'error': left(error, 300)}, key) AS example
FROM ledger GROUP BY ALL
"""


def fates(connection: duckdb.DuckDBPyConnection) -> Fates:
    """Of a database with the tables `stages`, `ledger` and `decisions`."""
    read = {row.pop("drop"): row for row in listed(connection, _READ)}
    kept = listed(connection, "SELECT drop, count(*) AS kept FROM decisions WHERE keep GROUP BY 1")
    reasons = []
    for row in [*listed(connection, _LEDGER), *listed(connection, _DECIDED)]:
        told: dict[str, Any] = dict.fromkeys(Reason._fields) | row | row.pop("example")
        reasons.append(Reason(**{f: told[f] for f in Reason._fields}))
    return Fates(read, {row["drop"]: row["kept"] for row in kept}, sorted(reasons, key=_order))


def funnel(found: Fates) -> list[FunnelStep]:
    """From what was delivered to what is kept; steps that nothing was lost at are left out."""
    steps = []
    if found.read:
        sums = {n: sum(r[n] for r in found.read.values()) for n in ("input", "kept")}
        steps.append(FunnelStep("records were delivered", sums["input"], []))
        gone = _by_rule(r for r in found.reasons if r.stage == "samples")
        steps.append(FunnelStep("could be read, each once", sums["kept"], gone))
    decided = [r for r in found.reasons if r.stage == "decisions"]
    kept = sum(found.kept.values())
    left = kept + sum(r.records for r in decided)
    if not left:
        return steps
    for name, said in STEPS.items():
        gone = _by_rule(r for r in decided if step_of(r.rule) == name)
        left -= sum(count for _, count in gone)
        if gone:
            steps.append(FunnelStep(said, left, gone))
    return [*steps, FunnelStep("are kept", kept, [])]


def step_of(rule: str) -> str:
    """The step of the funnel at which a rule of `decisions` takes samples away."""
    if rule.startswith("duplicate."):
        return "duplicates"
    if rule.startswith("decontamination."):
        return "contamination"
    return "rules" if rule.rpartition(".")[2] in _TESTS else "selection"


def merged(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    """A row a stage, outcome and rule over drops and thresholds, the most frequent first."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for reason in reasons:
        name = (reason.stage, reason.outcome, reason.rule)
        row = found.setdefault(name, {**reason._asdict(), "records": 0, "thresholds": set()})
        row["records"] += reason.records
        row["thresholds"].add(reason.threshold)
    return sorted(found.values(), key=lambda row: -row["records"])


def _by_rule(reasons: Iterable[Reason]) -> list[tuple[str, int]]:
    gone = [r for r in reasons if r.outcome != "unmeasured"]
    return [(row["rule"], row["records"]) for row in merged(gone)]


def _order(reason: Reason) -> tuple[int, str, str]:
    return (-reason.records, reason.drop, reason.rule)
