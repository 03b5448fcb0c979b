"""Rank the relevant items of queries in a gallery that is read tile by tile, in any order.

Only counts and result lists are kept, so memory does not depend on the gallery. Tallies of parts
of a gallery can be added. The ranks are those of `store.corrections.evaluate` on the whole
gallery: equal scores are ordered by the items' keys. Scores count as equal if they differ by less
than half of the last digit that `evaluate` rounds to: products of other shapes differ a little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store.arrays import count_true, lookup, members
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

    def take(self, queries: np.ndarray) -> "RankedItems":
        """The items of some queries, with the queries renumbered from 0."""
        rows = members(self.relevant.count, queries)
        return RankedItems(
            self.relevant.take(queries), self.scores[rows], self.keys[rows], self.excluded[queries]
        )


@dataclass(frozen=True)
class Tally:
    """What a part of a gallery adds to the rankings of m queries.

    Attributes:
        ahead: (r,) int64, the number of items that rank before each relevant item.
        top: (m, k) float32, the best scores; -inf where a list ends earlier.
        keys: (m, k) uint64, the items of these scores.
        flags: (m, k) bool, their flags.
        complete: (m,) bool, whether the list has all items. Otherwise there may be more items, all
            of them behind the last one of the list.
    """

    ahead: np.ndarray
    top: np.ndarray
    keys: np.ndarray
    flags: np.ndarray
    complete: np.ndarray

    def __add__(self, other: "Tally") -> "Tally":
        """The tally of both parts of the gallery."""
        k = self.top.shape[1]
        ends = np.maximum(self._end(), other._end())
        top, keys, flags = (
            np.concatenate([getattr(t, name) for t in (self, other)], axis=1)
            for name in ("top", "keys", "flags")
        )
        order = np.lexsort((keys, -top), axis=1)
        top, keys, flags = (np.take_along_axis(a, order, axis=1) for a in (top, keys, flags))
        # An item behind the end of a list may not be the next: that list has lost items.
        top[top < ends[:, None]] = -np.inf
        complete = self.complete & other.complete & (top[:, k:] == -np.inf).all(axis=1)
        return Tally(self.ahead + other.ahead, top[:, :k], keys[:, :k], flags[:, :k], complete)

    def without(self, removed: "Tally", items: np.ndarray) -> "Tally":
        """The tally of the part of the gallery without some of its items.

        Lists become shorter. They are filled up by adding other items, but only to their end.

        Args:
            removed: the tally of these items.
            items: (t,) uint64, their keys.
        """
        gone = np.isin(self.keys, items)
        order = np.argsort(gone, axis=1, kind="stable")
        top = np.where(gone, np.float32(-np.inf), self.top)
        top, keys, flags = (
            np.take_along_axis(a, order, axis=1) for a in (top, self.keys, self.flags)
        )
        return Tally(self.ahead - removed.ahead, top, keys, flags, self.complete)

    def reaches(self, k: int) -> np.ndarray:
        """(m,) bool, whether the list has the k best items, or all items if there are fewer."""
        return self.complete | (self.top[:, k - 1] > -np.inf)

    def cut(self, k: int) -> "Tally":
        """The tally with lists of the k best items."""
        complete = self.complete & (self.top[:, k:] == -np.inf).all(axis=1)
        return Tally(self.ahead, self.top[:, :k], self.keys[:, :k], self.flags[:, :k], complete)

    def take(self, queries: np.ndarray, count: np.ndarray) -> "Tally":
        """The tally of some queries.

        Args:
            queries: their numbers.
            count: (m,) the number of relevant items of each query.
        """
        return Tally(
            self.ahead[members(count, queries)],
            self.top[queries],
            self.keys[queries],
            self.flags[queries],
            self.complete[queries],
        )

    @staticmethod
    def join(tallies: "Sequence[Tally]") -> "Tally":
        """The tally of all queries, from those of consecutive queries over the same items."""
        names = ("ahead", "top", "keys", "flags", "complete")
        return Tally(*(np.concatenate([getattr(t, name) for t in tallies]) for name in names))

    def _end(self) -> np.ndarray:
        """(m,) the lowest score down to which a list has all items; -inf if it is complete."""
        listed = np.where(self.top > -np.inf, self.top, np.inf).min(axis=1, initial=np.inf)
        return np.where(self.complete, np.float32(-np.inf), listed)


class TallyCount:
    """Counts a tally over the tiles of a part of a gallery.

    Args:
        items: the relevant items of m queries.
        k: the length of the result lists.
        most_listed: a share of the scores of a tile. The scores that may count are listed; if they
            are more, whole rows are counted, which gives the same.
    """

    def __init__(self, items: RankedItems, k: int, most_listed: float = 1 / 32):
        self.items = items
        self._most_listed = most_listed
        self.ahead = np.zeros(len(items.keys), np.int64)
        self._top = TopK(np.empty((len(items.excluded), 0), np.float32), k)
        self._keys: list[np.ndarray] = []
        self._flags: list[np.ndarray] = []
        self._rows = 0
        # Below it, a score is behind all relevant items of its query.
        self._lowest = np.full(len(items.excluded), np.inf, np.float32)
        np.minimum.at(self._lowest, items.relevant.query, items.scores - _TIED)
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
        least = self._top.least(scores)
        flat = np.flatnonzero(scores >= np.minimum(least, self._lowest)[:, None])
        if flat.size > self._most_listed * scores.size:
            for index in self._passes:
                self._count_ahead(scores, keys, index)
            self._top.add(scores, self._rows)
        else:
            query, column = np.divmod(flat, len(keys))
            listed = scores.ravel()[flat]
            for index in self._passes:
                self._count_listed(query, listed, keys[column], index)
            is_best = listed >= least[query]
            self._top.add_flat(flat[is_best], listed[is_best], len(keys), self._rows)
        self._keys.append(keys)
        self._flags.append(flags)
        self._rows += len(keys)

    def _count_ahead(self, scores: np.ndarray, keys: np.ndarray, index: np.ndarray) -> None:
        """Count the items ahead of at most one relevant item of each query."""
        query, own = self.items.relevant.query[index], self.items.scores[index]
        rows = scores if len(query) == len(scores) else scores[query]
        higher = count_true(rows > (own + _TIED)[:, None])
        near = count_true(rows >= (own - _TIED)[:, None])
        for i in np.flatnonzero(near > higher):  # few scores are equal
            tied = keys[(rows[i] >= own[i] - _TIED) & (rows[i] <= own[i] + _TIED)]
            higher[i] += (tied < self.items.keys[index[i]]).sum()
        self.ahead[index] += higher

    def _count_listed(
        self, query: np.ndarray, scores: np.ndarray, keys: np.ndarray, index: np.ndarray
    ) -> None:
        """As `_count_ahead`, of scores that are listed with their queries and keys.

        All others of the tile are below those of the relevant items.
        """
        relevant, queries = self.items.relevant.query[index], len(self.items.excluded)
        own, own_key = np.full(queries, np.inf, np.float32), np.zeros(queries, np.uint64)
        own[relevant], own_key[relevant] = self.items.scores[index], self.items.keys[index]
        own, own_key = own[query], own_key[query]
        is_ahead = scores > own + _TIED
        is_ahead |= (scores >= own - _TIED) & (keys < own_key)
        self.ahead[index] += np.bincount(query[is_ahead], minlength=queries)[relevant]

    def result(self) -> Tally:
        """The tally of all tiles."""
        top, columns = self._top.result()
        keys = np.concatenate([*self._keys, np.array([NO_KEY])])
        flags = np.concatenate([*self._flags, np.array([False])])
        complete = (top == -np.inf).any(axis=1)
        return Tally(self.ahead, top, keys[columns], flags[columns], complete)
