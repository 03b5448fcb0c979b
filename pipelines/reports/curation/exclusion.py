"""The share of samples that is kept, by language, source, format and drop.

A group is marked if its share is surely below four fifths of the overall share (the four-fifths
rule of adverse impact, Uniform Guidelines on Employee Selection Procedures, 1978). "Surely" means
that the upper end of its Wilson score interval (1927) is below, at a level of 5% for all groups of
a table together, so that neither small groups nor many groups raise false alarms.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import query_rows

GROUPS = ("drop", "source", "text_language", "image_format", "audio_format")
MOST = 12  # groups shown in a table
# The path of a source is relative to its drop.
_EXPRESSIONS = {
    "drop": "decisions.drop",
    "source": "concat(decisions.drop, '/', samples.source)",
}
_FAR_BELOW = 0.8
_LEVEL = 0.05


class Count(NamedTuple):
    """Samples of a group in a drop that a rule rejected, or that were kept (rule: None).

    Attributes:
        drop: the drop.
        by: the column that defines the group.
        group: its value.
        rule: the rule.
        samples: how many.
    """

    drop: str
    by: str
    group: str | None
    rule: str | None
    samples: int


@dataclass(frozen=True)
class Group:
    """A group of samples.

    Attributes:
        name: its value; None for samples without one.
        samples: how many there are.
        kept: how many of them are kept.
        ratio: its share kept to the overall share; None if nothing is kept.
        low: lower end of the interval of its share.
        high: upper end of the interval of its share.
        below: its share is surely below four fifths of the overall share.
        rule: the rule that rejects most of it.
        cost: samples that this rule rejects.
    """

    name: str | None
    samples: int
    kept: int
    ratio: float | None
    low: float
    high: float
    below: bool
    rule: str | None
    cost: int

    @property
    def share(self) -> float:
        """The share of its samples that is kept."""
        return self.kept / self.samples


def counts(connection: duckdb.DuckDBPyConnection, by: Sequence[str]) -> list[Count]:
    """Count the samples of every group.

    Args:
        connection: a database with the tables `decisions`, `samples` (with `source`) and
            `signals` (with the other columns). The table `grouped` is created in it.
        by: columns that define groups.
    """
    names = ", ".join(f"{_EXPRESSIONS.get(name, 'signals.' + name)} AS by_{name}" for name in by)
    connection.execute(
        f"CREATE TABLE grouped AS SELECT decisions.drop, {names or 'NULL'}, "
        "CASE WHEN keep THEN NULL ELSE coalesce(rule, '') END AS rule FROM decisions "
        "LEFT JOIN samples USING (drop, id) LEFT JOIN signals USING (drop, id)"
    )
    exclusions = []
    for name in by:
        query = f"SELECT drop, by_{name} AS name, rule, count(*) AS n FROM grouped GROUP BY ALL"
        rows = query_rows(connection, query)
        exclusions += [Count(r["drop"], name, r["name"], r["rule"], r["n"]) for r in rows]
    return exclusions


def groups(exclusions: Iterable[Count], by: str) -> list[Group]:
    """The groups of one column: marked groups first, then the largest; none if there is one only.

    Args:
        exclusions: counts of any columns.
        by: the column.
    """
    rules: dict[str | None, Counter[str | None]] = {}
    for count in exclusions:
        if count.by == by:
            rules.setdefault(count.group, Counter())[count.rule] += count.samples
    total, kept = sum(r.total() for r in rules.values()), sum(r[None] for r in rules.values())
    if len(rules) < 2:
        return []
    share = kept / total
    groups = [_group(name, of_group, share, len(rules)) for name, of_group in rules.items()]
    return sorted(groups, key=lambda g: (not g.below, -g.samples, g.name or ""))


def _group(name: str | None, rules: Counter[str | None], share: float, groups: int) -> Group:
    samples, kept = rules.total(), rules[None]
    low, high = wilson(kept, samples, _LEVEL / groups)
    rejected = {rule: count for rule, count in rules.items() if rule is not None}
    rule, cost = min(rejected.items(), key=lambda r: (-r[1], r[0]), default=(None, 0))
    ratio = kept / samples / share if share else None
    return Group(name, samples, kept, ratio, low, high, high < _FAR_BELOW * share, rule, cost)


def wilson(kept: int, samples: int, level: float) -> tuple[float, float]:
    """Wilson's score interval of the share kept / samples, with coverage 1 - level.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    """
    z, n, p = NormalDist().inv_cdf(1 - level / 2), samples, kept / samples
    middle, wide = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - wide) / (1 + z * z / n), (middle + wide) / (1 + z * z / n)
