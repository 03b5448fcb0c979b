"""The policy's limits of a column: what decisions were made by, and what corpus.yaml asks for.

Rules are called `column.operator`, whatever the operator: those that are not known here are drawn
where their threshold is a number.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from store.workspace import Workspace

_ENDS = {"min": "low", "keep_top": "low", "max": "high", "keep_bottom": "high"}
_OF = " of "
_MOST = 4  # lines in one histogram: a rule by group has a threshold for each


class Limit(NamedTuple):
    """One test of a column, with its threshold as the decisions show it."""

    operator: str
    threshold: str

    def __str__(self) -> str:
        return f"{self.operator} {self.threshold}"

    @property
    def at(self) -> float | None:
        """The threshold as a number; None where it is none. That of one group ends in its name:
        "0.31 of en"."""
        try:
            number = float(self.threshold.partition(_OF)[0])
        except ValueError:
            return None
        return number if np.isfinite(number) else None

    @property
    def is_of_all(self) -> bool:
        return _OF not in self.threshold

    @property
    def cuts(self) -> str | None:
        """The end that it cuts off: "low", "high", or None."""
        return _ENDS.get(self.operator)

    def beyond(self, values: np.ndarray) -> int:
        """How many of the values (n,) it cuts off, by the number alone."""
        at, cuts = self.at, self.cuts
        if at is None or cuts is None or not self.is_of_all:
            return 0
        return int(np.count_nonzero(values < at if cuts == "low" else values > at))

    def refuses(self, value: str) -> bool:
        """Whether it cuts off a name: `in` and `not_in`."""
        if self.operator not in ("in", "not_in"):
            return False
        try:
            listed = json.loads(self.threshold)
        except ValueError:
            return False
        return (value in listed) == (self.operator == "not_in")


def limits(
    decided: Iterable[tuple[str, str | None]], workspace: Workspace, names: Sequence[str]
) -> dict[str, list[Limit]]:
    """The limits of each column that has any, lowest first.

    Args:
        decided: (rule, threshold) pairs of `decisions`.
        workspace: its policy is asked where decisions name no threshold of a test.
        names: the columns that there are.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for rule, threshold in decided:
        column, _, operator = rule.rpartition(".")
        if column in names and threshold is not None:
            found.setdefault(column, {}).setdefault(operator, set()).add(threshold)
    for column, asked in workspace.config.policy.rules.items():
        for operator, value in asked.limits():
            if column in names and (said := _said(operator, value)) is not None:
                found.setdefault(column, {}).setdefault(operator, {said})
    return {
        column: sorted(
            (Limit(o, t) for o, told in tests.items() for t in _spread(told)), key=_by_place
        )
        for column, tests in found.items()
    }


def _said(operator: str, value: Any) -> str | None:
    if operator in ("min", "max"):
        return f"{value:g}"
    if operator in ("in", "not_in"):
        return json.dumps(list(value))
    return str(value) if operator == "null" else None


def _spread(thresholds: set[str]) -> list[str]:
    """A rule's thresholds, or some of them from the least to the greatest."""
    listed = sorted(thresholds, key=lambda t: _by_place(Limit("", t)))
    places = np.linspace(0, len(listed) - 1, min(len(listed), _MOST)).round().astype(int)
    return [listed[i] for i in places]


def _by_place(limit: Limit) -> tuple[float, str, str]:
    return (np.inf if limit.at is None else limit.at, *limit)
