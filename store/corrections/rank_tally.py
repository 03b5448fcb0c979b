"""Rank the relevant items of queries in a gallery that is read tile by tile, in any order.

Only counts and result lists are kept, so memory does not depend on the gallery. Tallies of parts
of a gallery can be added. The ranks are those of `store.corrections.evaluate` on the whole
gallery: equal scores are ordered by the items' keys. Scores count as equal if they differ by less
than half of the last digit that `evaluate` rounds to: products of other shapes differ a little.
"""

from dataclasses import dataclass

import numpy as np

from store.arrays import lookup
from store.corrections.evaluate import TIE_DECIMALS
from store.corrections.kernels.topk import TopK
from store.metrics.retrieval import Relevant

NO_KEY = np.uint64(0)
_TIED = np.float32(0.5 * 10.0**-TIE_DECIMALS)


@dataclass(frozen=True)
class RankedItems:
    """The relevant items of m queries, r in all.

    Attributes:
        relevant: the query of each item; its rows have no meaning for a tally.
        scores: (r,) float32, the score of each item for its query.
        keys: (r,) uint64, the key of each item.
        excluded: (m,) uint64, the key of an item that is not in a query's ranking, or `NO_KEY`.
    """

    relevant: Relevant
    scores: np.ndarray
    keys: np.ndarray
    excluded: np.ndarray

    def part(self, start: int, stop: int) -> "RankedItems":
        """The items of queries start to stop - 1, with the queries renumbered from 0."""
        low, high = np.searchsorted(self.relevant.query, (start, stop))
        return RankedItems(
            self.relevant.part(start, stop),
            self.scores[low:high],
            self.keys[low:high],
            self.excluded[start:stop],
        )


@dataclass(frozen=True)
class Tally:
    """What a part of a gallery adds to the rankings of m queries.

    Attributes:
        ahead: (r,) int64, the number of items that rank before each relevant item.
        top: (m, k) float32, the best scores; -inf where there are fewer than k items.
        keys: (m, k) uint64, the items of these scores.
        flags: (m, k) bool, their flags.
    """

    ahead: np.ndarray
    top: np.ndarray
    keys: np.ndarray
    flags: np.ndarray

    def __add__(self, other: "Tally") -> "Tally":
        """The tally of both parts of the gallery."""
        k = self.top.shape[1]
        top, keys, flags = (
            np.concatenate([getattr(t, name) for t in (self, other)], axis=1)
            for name in ("top", "keys", "flags")
        )
        best = np.lexsort((keys, -top), axis=1)[:, :k]
        lists = (np.take_along_axis(a, best, axis=1) for a in (top, keys, flags))
        return Tally(self.ahead + other.ahead, *lists)

    @staticmethod
    def join(tallies: "list[Tally]") -> "Tally":
        """The tally of all queries, from those of consecutive queries over the same items."""
        return Tally(
            *(
                np.concatenate([getattr(t, name) for t in tallies])
                for name in ("ahead", "top", "keys", "flags")
            )
        )


class TallyCount:
    """Counts a tally over the tiles of a part of a gallery.

    Args:
        items: the relevant items of m queries.
        k: the length of the result lists.
    """

    def __init__(self, items: RankedItems, k: int):
        self.items = items
        self.ahead = np.zeros(len(items.keys), np.int64)
        self._top = TopK(np.empty((len(items.excluded), 0), np.float32), k)
        self._keys: list[np.ndarray] = []
        self._flags: list[np.ndarray] = []
        self._rows = 0
        count = items.relevant.count
        nth = np.arange(len(items.keys)) - np.repeat(np.cumsum(count) - count, count)
        # Each pass ranks one relevant item of every query.
        self._passes = [np.flatnonzero(nth == n) for n in range(int(count.max(initial=0)))]

    def add(self, scores: np.ndarray, keys: np.ndarray, flags: np.ndarray) -> None:
        """Count a tile of t items.

        Args:
            scores: (m, t) float32, which are changed in place.
            keys: (t,) uint64, ascending and distinct.
            flags: (t,) bool.
        """
        items = self.items
        own = lookup(keys, items.keys)
        present = own >= 0
        # The product of a tile differs from another product by the last digits.
        scores[items.relevant.query[present], own[present]] = items.scores[present]
        excluded = lookup(keys, items.excluded)
        scores[np.flatnonzero(excluded >= 0), excluded[excluded >= 0]] = -np.inf
        for index in self._passes:
            self._count_ahead(scores, keys, index)
        self._top.add(scores, self._rows)
        self._keys.append(keys)
        self._flags.append(flags)
        self._rows += len(keys)

    def _count_ahead(self, scores: np.ndarray, keys: np.ndarray, index: np.ndarray) -> None:
        """Count the items ahead of at most one relevant item of each query."""
        query, own = self.items.relevant.query[index], self.items.scores[index]
        rows = scores if len(query) == len(scores) else scores[query]
        higher = (rows > (own + _TIED)[:, None]).sum(axis=1)
        near = (rows >= (own - _TIED)[:, None]).sum(axis=1)
        for i in np.flatnonzero(near > higher):  # few scores are equal
            tied = keys[np.abs(rows[i] - own[i]) <= _TIED]
            higher[i] += (tied < self.items.keys[index[i]]).sum()
        self.ahead[index] += higher

    def result(self) -> Tally:
        """The tally of all tiles."""
        top, columns = self._top.result()
        keys = np.concatenate([*self._keys, np.array([NO_KEY])])
        flags = np.concatenate([*self._flags, np.array([False])])
        return Tally(self.ahead, top, keys[columns], flags[columns])
