"""The policy's limits of a column: those that decisions used, and those of corpus.yaml.

A rule is called `column.operator`. Limits of any operator are drawn if their threshold is a number.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from store.workspace import Workspace

_ENDS = {"min": "low", "keep_top": "low", "max": "high", "keep_bottom": "high"}
_OF = " of "
_MOST = 4  # lines in one histogram: a rule by group has a threshold for each group


class Limit(NamedTuple):
    """A test of a column, with its threshold as the decisions show it."""

    operator: str
    threshold: str

    def __str__(self) -> str:
        return f"{self.operator} {self.threshold}"

    @property
    def at(self) -> float | None:
        """The threshold as a number, or None. That of a group is followed by its name:
        "0.31 of en"."""
        try:
            number = float(self.threshold.partition(_OF)[0])
        except ValueError:
            return None
        return number if np.isfinite(number) else None

    @property
    def is_of_all(self) -> bool:
        """Whether it applies to all samples, not to those of one group."""
        return _OF not in self.threshold

    @property
    def cuts(self) -> str | None:
        """The end that it cuts off: "low", "high", or None."""
        return _ENDS.get(self.operator)

    def beyond(self, values: np.ndarray) -> int:
        """How many of the values (n,) it cuts off; 0 if it applies to one group."""
        at, cuts = self.at, self.cuts
        if at is None or cuts is None or not self.is_of_all:
            return 0
        return int(np.count_nonzero(values < at if cuts == "low" else values > at))

    def refuses(self, value: str) -> bool:
        """Whether it cuts off a text value, by `in` or `not_in`."""
        if self.operator not in ("in", "not_in"):
            return False
        try:
            values = json.loads(self.threshold)
        except ValueError:
            return False
        return (value in values) == (self.operator == "not_in")


def limits(
    decided: Iterable[tuple[str, str | None]], workspace: Workspace, names: Sequence[str]
) -> dict[str, list[Limit]]:
    """The limits of each column that has any, lowest first.

    Args:
        decided: (rule, threshold) pairs of `decisions`.
        workspace: the corpus. Its policy gives the limits of rules that rejected nothing.
        names: the columns.
    """
    by_column: dict[str, dict[str, set[str]]] = {}
    for rule, threshold in decided:
        column, _, operator = rule.rpartition(".")
        if column in names and threshold is not None:
            by_column.setdefault(column, {}).setdefault(operator, set()).add(threshold)
    for column, test in workspace.config.policy.rules.items():
        for operator, value in test.limits():
            if column in names and (threshold := _threshold(operator, value)) is not None:
                by_column.setdefault(column, {}).setdefault(operator, {threshold})
    return {
        column: sorted(
            (Limit(o, t) for o, thresholds in tests.items() for t in _selected(thresholds)),
            key=_order,
        )
        for column, tests in by_column.items()
    }


def _threshold(operator: str, value: Any) -> str | None:
    """A threshold of corpus.yaml as decisions write it; None if they compute it."""
    if operator in ("min", "max"):
        return f"{value:g}"
    if operator in ("in", "not_in"):
        return json.dumps(list(value))
    return str(value) if operator == "null" else None


def _selected(thresholds: set[str]) -> list[str]:
    """At most `_MOST` thresholds of a rule, from the least to the greatest."""
    ordered = sorted(thresholds, key=lambda t: _order(Limit("", t)))
    indices = np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST)).round().astype(int)
    return [ordered[i] for i in indices]


def _order(limit: Limit) -> tuple[float, str, str]:
    return (np.inf if limit.at is None else limit.at, *limit)
