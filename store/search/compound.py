"""How the parts of a compound query are joined: a small tree over the numbers of its parts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from store.errors import InputError

Kind = Literal["all", "any", "none"]
KINDS: tuple[Kind, ...] = ("all", "any", "none")
MAX_PARTS = 16  # of one compound query
MAX_DEPTH = 4


@dataclass(frozen=True)
class Compound:
    """A node of the tree. Scores are calibrated: 0 is the mean of unrelated pairs.

    - "all": the lowest score of its members, less the penalties of its members of the kind "none".
    - "any": the highest score of its members.
    - "none": a penalty, the highest score of its members if that is above 0.

    Attributes:
        kind: of the node.
        members: numbers of queries, or nodes.
    """

    kind: Kind
    members: "tuple[int | Compound, ...]"

    def scores(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The scores (n,) of rows, or the penalties of a node of the kind "none".

        Args:
            parts: the scores (n,) by each query. -inf gives no penalty.
        """
        values = [
            parts[m] if isinstance(m, int) else m.scores(parts)
            for m in self.members
            if isinstance(m, int) or m.kind != "none"
        ]
        if self.kind == "any":
            return np.max(values, axis=0)
        if self.kind == "none":
            return np.maximum(np.max(values, axis=0), 0)
        lowest = np.min(values, axis=0)
        nones = [m for m in self.members if not isinstance(m, int) and m.kind == "none"]
        penalties = [node.scores(parts) for node in nones]
        return lowest - np.sum(penalties, axis=0) if penalties else lowest

    def wanted(self) -> Iterator[int]:
        """The numbers of the queries that raise the score; the others only lower it."""
        for member in self.members:
            if isinstance(member, int):
                yield member
            elif member.kind != "none":
                yield from member.wanted()

    def clauses(self) -> list[tuple[int, ...]]:
        """Sets of queries: a score is at most the highest, over the sets, of their lowest scores.

        The tree in disjunctive normal form, without the penalties.
        """
        members = [
            [(m,)] if isinstance(m, int) else m.clauses()
            for m in self.members
            if isinstance(m, int) or m.kind != "none"
        ]
        if self.kind == "any":
            return [clause for clauses in members for clause in clauses]
        return [sum(chosen, ()) for chosen in product(*members)]

    def parts(self) -> Iterator[int]:
        """The numbers of all queries."""
        for member in self.members:
            yield from [member] if isinstance(member, int) else member.parts()

    def moved(self, by: int) -> "Compound":
        """The same tree over queries whose numbers are larger by `by`."""
        members = (m + by if isinstance(m, int) else m.moved(by) for m in self.members)
        return Compound(self.kind, tuple(members))

    def check(self, count: int) -> None:
        """Check a tree over `count` queries, which may come from a stranger.

        Raises:
            InputError: it is too deep or too large, does not have each query once, or has none_of
                in a place where it means nothing.
        """
        self._check_nodes(1)
        if self.kind == "none":
            raise InputError("none_of() lowers the scores of other queries: put it into all_of()")
        if count > MAX_PARTS:
            raise InputError(
                f"a compound query of {count} queries: at most {MAX_PARTS} can be used"
            )
        if sorted(self.parts()) != list(range(count)):
            raise InputError(f"a compound query must have each of its {count} queries once")

    def _check_nodes(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise InputError(f"a compound query is nested more than {MAX_DEPTH} times")
        if not 0 < len(self.members) <= MAX_PARTS:
            raise InputError(f"{self.kind}_of() takes from 1 to {MAX_PARTS} queries")
        nodes = [m for m in self.members if not isinstance(m, int)]
        nones = [m for m in nodes if m.kind == "none"]
        if nones and (self.kind != "all" or len(nones) == len(self.members)):
            raise InputError("none_of() stands in all_of(), beside a query that is wanted")
        for node in nodes:
            node._check_nodes(depth + 1)

    def to_value(self) -> dict[str, Any]:
        """The tree as a JSON value, such as {"all": [0, {"none": [1]}]}."""
        return {self.kind: [m if isinstance(m, int) else m.to_value() for m in self.members]}

    def text(self, queries: Sequence[str]) -> str:
        """The tree as calls, with the texts of its queries."""
        members = (queries[m] if isinstance(m, int) else m.text(queries) for m in self.members)
        return f"{self.kind}_of({', '.join(members)})"


def from_value(value: Any, depth: int = 1) -> Compound:
    """Undo `Compound.to_value`.

    Raises:
        InputError: the value is no such tree, or it is nested too deeply.
    """
    is_node = isinstance(value, Mapping) and len(value) == 1
    kind = next(iter(value)) if is_node else None
    members = value[kind] if is_node else None
    if kind not in KINDS or not isinstance(members, list) or len(members) > MAX_PARTS:
        raise InputError(
            'compound: expected an object such as {"all": [0, {"none": [1]}]}, with up to'
            f" {MAX_PARTS} numbers of queries"
        )
    if depth > MAX_DEPTH:
        raise InputError(f"a compound query is nested more than {MAX_DEPTH} times")
    made = (m if type(m) is int else from_value(m, depth + 1) for m in members)
    return Compound(kind, tuple(made))
