"""The fields and words of a query that go beyond the search by one vector."""

from dataclasses import dataclass, replace
from typing import Any, Self

from store.errors import InputError
from store.search.query_options import QueryOptions

ROUTES = ("direct", "cross")


@dataclass(frozen=True)
class SystemOptions(QueryOptions):
    """What a query does beside a search by one vector. Every method returns a new value.

    Attributes:
        path: how inputs search the gallery of their own modality: "direct", or "cross" for the
            route through another modality.
    """

    path: str = "direct"

    def route(self, name: str) -> Self:
        """Choose how an input searches the gallery of its own modality.

        "direct" compares the vectors. "cross" replaces an input by its representation in another
        modality: an item by the other part of its sample, any other input by the nearest items of
        that modality. See `store.search.cross_route`.

        Raises:
            InputError: there is no such route.
        """
        return replace(self, path=_one_of("route", name, ROUTES))


def _one_of(word: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{word}({str(value)[:80]!r}): allowed are {', '.join(allowed)}")
    return value
