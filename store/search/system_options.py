"""The fields and words of a query that go beyond the search by one vector."""

from dataclasses import dataclass, replace
from typing import Any, Self

from store.errors import InputError
from store.search.numbers import number, whole
from store.search.query_options import MAX_ROWS, QueryOptions

ROUTES = ("direct", "cross")
AGGREGATIONS = ("max", "softmax", "learned")
COMBINATIONS = ("sum", "volume", "product")


@dataclass(frozen=True)
class Expansion:
    """How a list is expanded: edges to follow, and the probability that the walker follows one."""

    hops: int
    alpha: float


@dataclass(frozen=True)
class Interaction:
    """How a list is ranked anew by token vectors: its best rows, and the share of MaxSim."""

    depth: int
    weight: float


@dataclass(frozen=True)
class SystemOptions(QueryOptions):
    """What a query does beside a search by one vector. Every method returns a new value.

    Attributes:
        path: how inputs search the gallery of their own modality: "direct", or "cross" for the
            route through another modality.
        aggregation: how the scores of a sample's parts are joined: "max", "softmax" or "learned".
        combination: how the scores of several inputs are combined: "sum", "volume" or "product".
        expansion: how the list is expanded along the graph of near items.
        interaction: how the list is ranked anew by token vectors.
        in_moments: whether moments of parts are searched.
    """

    path: str = "direct"
    expansion: Expansion | None = None
    combination: str = "sum"
    aggregation: str = "max"
    interaction: Interaction | None = None
    in_moments: bool = False

    def route(self, name: str) -> Self:
        """Choose how an input searches the gallery of its own modality.

        "direct" compares the vectors. "cross" replaces an input by its representation in another
        modality: an item by the other part of its sample, any other input by the nearest items of
        that modality. See `store.search.cross_route`.

        Raises:
            InputError: there is no such route.
        """
        return replace(self, path=_one_of("route", name, ROUTES))

    def combine(self, name: str) -> Self:
        """Choose how the scores of several inputs are combined.

        "sum" is the weighted sum of their scores. "volume" is one less the volume of the inputs and
        the item (GRAM), and "product" their multilinear product (Symile). See
        `store.search.combine`. The last two search one gallery, without weights and without
        negative inputs.

        Raises:
            InputError: there is no such combination.
        """
        return replace(self, combination=_one_of("combine", name, COMBINATIONS))

    def aggregate(self, name: str) -> Self:
        """Choose how `among("sample")` joins the scores of a sample's parts.

        "max" takes the best part. "softmax" counts the others too, and "learned" by weights for
        each modality that the release has learned from pairs; both give the column `_aggregated`,
        which ranks the rows. See `store.search.aggregate`.

        Raises:
            InputError: there is no such aggregation.
        """
        return replace(self, aggregation=_one_of("aggregate", name, AGGREGATIONS))

    def expand(self, hops: int = 1, alpha: float = 0.5) -> Self:
        """Rank the list anew by a graph of near items and parts of the same samples.

        The rows get the column `_expanded`, personalised PageRank, which ranks them. Items that
        are not near to the query, but to its best rows, join the list. See `store.search.expand`.

        Args:
            hops: from the rows of the list, from 1 to 3.
            alpha: the share of the graph, above 0 up to 0.95. The list itself has the rest.

        Raises:
            InputError: a number is out of range.
        """
        made = Expansion(whole("expand", hops, 1, 3), number("expand", alpha, 0, 0.95))
        return replace(self, expansion=made)

    def late(self, depth: int = 100, weight: float = 0.75) -> Self:
        """Rank the best rows anew by late interaction: MaxSim of token vectors (`late:`).

        The rows get the columns `_late`, which ranks them, and `_max_sim`, which is null for an
        item without token vectors. One gallery is searched. See `store.search.late`.

        Args:
            depth: how many rows are ranked anew, from 1 to 10,000; at least those that are wanted.
            weight: the share of MaxSim, above 0 up to 1. The score of the list has the rest.

        Raises:
            InputError: a number is out of range.
        """
        made = Interaction(whole("late", depth, 1, MAX_ROWS), number("late", weight, 0, 1))
        return replace(self, interaction=made)

    def moments(self, on: bool = True) -> Self:
        """Search windows of recordings and tiles of images (`moments:`) in the place of parts.

        Each part is listed once, by its best moment. The rows get its span: `_start` and `_end` in
        seconds, or `_box`, a list of left, top, right and bottom as shares of width and height.
        Galleries without moments are searched as they are. See `store.search.moments`.

        Raises:
            InputError: `on` is neither true nor false.
        """
        if on not in (True, False):
            raise InputError(f"moments({str(on)[:80]!r}): allowed are true and false")
        return replace(self, in_moments=bool(on))


def _one_of(word: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{word}({str(value)[:80]!r}): allowed are {', '.join(allowed)}")
    return value
