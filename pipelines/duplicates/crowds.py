"""Candidates among many texts that share a band, as those of one template do, without a look at
every pair of them.

Each word of a copy stands in what it is a copy of, or is spelled like a word there (see
`templates.same_template`), or both texts have the same letters. So one word of a text, whichever,
leads to all that it can be a copy of: the rarest, which in a template is what it was filled in
with. The choice decides how many candidates there are, never which pairs are found.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.duplicates.joins import equal
from pipelines.duplicates.shingles import fold, runs
from pipelines.duplicates.words import spellings, words

_TEXTS = 1 << 15


class Crowd:
    """Texts by their words.

    Args:
        rows: (n,) ascending; `texts` gives the texts of some rows, each with a word.
    """

    def __init__(self, rows: np.ndarray, texts: Callable[[np.ndarray], Sequence[str]]):
        self.rows = rows
        blocks = [rows[i : i + _TEXTS] for i in range(0, len(rows), _TEXTS)]
        held, self.count, content, owners, keys = (
            np.concatenate(column)
            for column in zip(*(_read(texts(block)) for block in blocks), strict=True)
        )
        vocabulary, place = np.unique(held, return_inverse=True)
        owner = np.searchsorted(vocabulary, owners)
        distinct, key = np.unique(keys, return_inverse=True)
        pairs = np.unique(owner * len(distinct) + key)
        owner, key = pairs // len(distinct), pairs % len(distinct)
        times = np.bincount(place)[owner]
        leads_to = np.bincount(key, times)[key]
        cost = np.bincount(owner, leads_to)
        first = np.cumsum(self.count) - self.count
        by_cost = np.argsort(cost, kind="stable")
        rank = np.empty_like(by_cost)
        rank[by_cost] = np.arange(len(by_cost))
        chosen = by_cost[np.minimum.reduceat(rank[place], first)]
        every = _Lists(owner, key, len(vocabulary))
        wanted = np.zeros(len(distinct), bool)
        wanted[every.of(np.unique(chosen))[1]] = True
        some = _Lists(owner[wanted[key]], key[wanted[key]], len(vocabulary))
        # The letters of a text count as one more key.
        texts_here, letters = (
            np.arange(len(rows)),
            len(distinct) + np.unique(content, return_inverse=True)[1],
        )
        text, key = every.of(chosen)
        self.asks = _Lists(np.r_[text, texts_here], np.r_[key, letters], len(rows))
        word, key = some.of(place)
        text = np.repeat(texts_here, self.count)[word]
        self.has = _Lists(np.r_[text, texts_here], np.r_[key, letters], len(rows))
        self.keys = int(letters.max()) + 1

    def candidates(
        self, rows: np.ndarray, groups: np.ndarray, first: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs (lesser row, greater row) that share a group, of which one may be a copy of the
        other and at least one is at `first` or after it; some of them twice.

        Args:
            rows: (n,) rows of the crowd; `groups`: their groups (n,), from 0 on.
        """
        at = np.searchsorted(self.rows, rows)
        new = rows >= first
        for asking, having in ((new, new | True), (~new, new)):
            asks, has = at[asking], at[having]
            one, ask = self.asks.of(asks)
            other, key = self.has.of(has)
            table = groups[having][other] * self.keys + key
            for entry, probe in equal(table, groups[asking][one] * self.keys + ask):
                x, y = asks[one[probe]], has[other[entry]]
                enough = (self.count[x] <= self.count[y]) & (x != y)
                x, y = x[enough], y[enough]
                yield self.rows[np.minimum(x, y)], self.rows[np.maximum(x, y)]


class _Lists:
    """Lists of keys, by the number of what they belong to."""

    def __init__(self, owner: np.ndarray, keys: np.ndarray, owners: int):
        self.keys = keys[np.argsort(owner, kind="stable")]
        self.many = np.bincount(owner, minlength=owners)
        self.start = np.cumsum(self.many) - self.many

    def of(self, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places in `owners`, and the keys of these."""
        many = self.many[owners]
        places = np.repeat(np.arange(len(owners)), many)
        return places, self.keys[runs(self.start[owners], many)]


def _read(texts: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Words, how many each text has, letters, and each word's spellings."""
    read = words(fold(texts))
    _, once = np.unique(read.values, return_index=True)
    spelled = spellings(read, once)
    owner = read.values[once][spelled.owner]
    return read.values, np.diff(read.starts), read.content, owner, spelled.keys
