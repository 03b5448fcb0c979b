"""Who is excluded: the share of each language, source, format and drop that is kept.

A group is called out where its share is surely below four fifths of the whole's (the rule of
adverse impact, Uniform Guidelines on Employee Selection Procedures, 1978): where the upper end of
its Wilson interval (1927) is, at 5% for all groups of a table together, so that neither small
groups nor many of them raise a false alarm.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import listed

GROUPS = ("drop", "source", "text_language", "image_format", "audio_format")
MOST = 12  # groups of a table that are shown
# A source is a place within its drop.
_OF = {"drop": "decisions.drop", "source": "concat(decisions.drop, '/', samples.source)"}
_FAR_BELOW = 0.8
_LEVEL = 0.05


class Count(NamedTuple):
    """How many samples of a group went by a rule, or (None) were kept."""

    drop: str
    by: str
    group: str | None
    rule: str | None
    samples: int


@dataclass(frozen=True)
class Group:
    """A group's samples and how many are kept, as a share and in relation to all; `low` and `high`
    are the share's interval, `rule` took most of them (`cost`)."""

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
        return self.kept / self.samples


def counts(connection: duckdb.DuckDBPyConnection, by: Sequence[str]) -> list[Count]:
    """Of a database with the tables `decisions`, `samples` and `signals`, which have the columns
    that are named: `source` in `samples`, `drop` in all, the others in `signals`."""
    named = ", ".join(f"{_OF.get(name, 'signals.' + name)} AS by_{name}" for name in by)
    connection.execute(
        f"CREATE TABLE grouped AS SELECT decisions.drop, {named or 'NULL'}, "
        "CASE WHEN keep THEN NULL ELSE coalesce(rule, '') END AS rule FROM decisions "
        "LEFT JOIN samples USING (drop, id) LEFT JOIN signals USING (drop, id)"
    )
    found = []
    for name in by:
        query = f"SELECT drop, by_{name} AS name, rule, count(*) AS n FROM grouped GROUP BY ALL"
        rows = listed(connection, query)
        found += [Count(r["drop"], name, r["name"], r["rule"], r["n"]) for r in rows]
    return found


def groups(found: Iterable[Count], by: str) -> list[Group]:
    """The groups of one table: those called out first, then the largest. Empty where there is but
    one, which is the whole."""
    rules: dict[str | None, Counter[str | None]] = {}
    for count in found:
        if count.by == by:
            rules.setdefault(count.group, Counter())[count.rule] += count.samples
    total, kept = sum(r.total() for r in rules.values()), sum(r[None] for r in rules.values())
    if len(rules) < 2:
        return []
    share = kept / total
    made = [_group(name, some, share, len(rules)) for name, some in rules.items()]
    return sorted(made, key=lambda g: (not g.below, -g.samples, g.name or ""))


def _group(name: str | None, rules: Counter[str | None], share: float, among: int) -> Group:
    samples, kept = rules.total(), rules[None]
    low, high = wilson(kept, samples, _LEVEL / among)
    lost = Counter({rule: count for rule, count in rules.items() if rule is not None})
    rule, cost = min(lost.items(), key=lambda r: (-r[1], r[0]), default=(None, 0))
    ratio = kept / samples / share if share else None
    return Group(name, samples, kept, ratio, low, high, high < _FAR_BELOW * share, rule, cost)


def wilson(kept: int, samples: int, level: float) -> tuple[float, float]:
    """The score interval of a share, which holds it but for `level` of the time.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    """
    z, n, p = NormalDist().inv_cdf(1 - level / 2), samples, kept / samples
    middle, wide = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - wide) / (1 + z * z / n), (middle + wide) / (1 + z * z / n)
