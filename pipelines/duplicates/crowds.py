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
from pipelines.duplicates.words import spellings, used, words

_TEXTS = 1 << 13


class Crowd:
    """Texts by their words.

    Args:
        rows: (n,) ascending; `texts` gives the texts of some rows, each with a word.
    """

    def __init__(self, rows: np.ndarray, texts: Callable[[np.ndarray], Sequence[str]]):
        self.rows = rows
        blocks = [rows[i : i + _TEXTS] for i in range(0, len(rows), _TEXTS)]
        held, self.count, content, letters, less, owners, keys = (
            np.concatenate(column)
            for column in zip(*(_read(texts(block)) for block in blocks), strict=True)
        )
        vocabulary, held_at = np.unique(held, return_inverse=True)
        owner = np.searchsorted(vocabulary, owners)
        distinct, key = np.unique(keys, return_inverse=True)
        pairs = np.unique(owner * len(distinct) + key)
        owner, key = pairs // len(distinct), pairs % len(distinct)
        times = np.bincount(held_at)[owner]
        leads_to = np.bincount(key, times)[key]
        cost = np.bincount(owner, leads_to)
        first = np.cumsum(self.count) - self.count
        by_cost = np.argsort(cost, kind="stable")
        rank = np.empty_like(by_cost)
        rank[by_cost] = np.arange(len(by_cost))
        chosen = by_cost[np.minimum.reduceat(rank[held_at], first)]
        every = _Lists(owner, key, len(vocabulary))
        wanted = np.zeros(len(distinct), bool)
        wanted[every.of(np.unique(chosen))[1]] = True
        some = _Lists(owner[wanted[key]], key[wanted[key]], len(vocabulary))
        # All letters of a text are one more key, asked for as they are and less one of them.
        contents, same = np.unique(content, return_inverse=True)
        here = np.arange(len(rows))
        place = np.minimum(np.searchsorted(contents, less), len(contents) - 1)
        there = contents[place] == less
        shorter = np.repeat(here, letters)[there]
        text, key = every.of(chosen)
        self.asks = _Lists(
            np.r_[text, here, shorter],
            np.r_[key, len(distinct) + np.r_[same, place[there]]],
            len(rows),
        )
        word, key = some.of(held_at)
        text = np.repeat(here, self.count)[word]
        self.has = _Lists(np.r_[text, here], np.r_[key, len(distinct) + same], len(rows))
        self.keys = len(distinct) + len(contents)

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
    """Words, how many each text has; contents, how many letters each text uses, contents less
    each of these; and each word with its spellings."""
    read = words(fold(texts))
    text, letter = used(read)
    _, once = np.unique(read.values, return_index=True)
    spelled = spellings(read, once)
    return (
        read.values,
        np.diff(read.starts),
        read.content,
        np.bincount(text),
        read.content[text] - read.alphabet[letter],
        read.values[once][spelled.owner],
        spelled.keys,
    )
