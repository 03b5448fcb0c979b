"""Candidates among many texts that share a band, as those of one template do, without a look at
every pair of them.

Each word of a copy stands in what it is a copy of, or is spelled like a word there (see
`templates.same_template`), or both texts have the same letters. So one word of a text, whichever,
leads to all that it can be a copy of: the rarest, which in a template is what it was filled in
with. The choice decides how many candidates there are, never which pairs are found.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.duplicates.pair_joins import equal
from pipelines.duplicates.texts.shingles import fold
from pipelines.duplicates.texts.spelling import spellings, used, words
from store.arrays import lookup, ragged_ranges

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
        chosen = _rarest(held_at, self.count, owner, key)
        near, word = _alike(owner, key, np.unique(chosen))
        every = _Lists(near, word, len(vocabulary))
        wanted = np.zeros(len(vocabulary), bool)
        wanted[word] = True
        # All letters of a text count as one word more, asked for as they are and less one of them.
        contents, same = np.unique(content, return_inverse=True)
        here = np.arange(len(rows))
        place = lookup(contents, less)
        there = place >= 0
        text, word = every.of(chosen)
        asks = np.r_[text, here, np.repeat(here, letters)[there]]
        asked = np.r_[word, len(vocabulary) + np.r_[same, place[there]]]
        self.asks = _Lists(asks, asked, len(rows))
        some = wanted[held_at]
        has = np.r_[np.repeat(here, self.count)[some], here]
        held = np.r_[held_at[some], len(vocabulary) + same]
        self.has = _Lists(has, held, len(rows))
        self.words = len(vocabulary) + len(contents)

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
            other, word = self.has.of(has)
            table = groups[having][other] * self.words + word
            for entry, probe in equal(table, groups[asking][one] * self.words + ask):
                x, y = asks[one[probe]], has[other[entry]]
                enough = (self.count[x] <= self.count[y]) & (x != y)
                x, y = x[enough], y[enough]
                yield self.rows[np.minimum(x, y)], self.rows[np.maximum(x, y)]


def _rarest(held: np.ndarray, count: np.ndarray, owner: np.ndarray, key: np.ndarray) -> np.ndarray:
    """(texts,) of each text the word whose spellings are the rarest.

    Args:
        held: words of the texts, so many of each as `count` says; `owner`, `key`: words and keys
            of their spellings.
    """
    leads_to = np.bincount(key, np.bincount(held)[owner])[key]
    by_cost = np.argsort(np.bincount(owner, leads_to), kind="stable")
    rank = np.empty_like(by_cost)
    rank[by_cost] = np.arange(len(by_cost))
    return by_cost[np.minimum.reduceat(rank[held], np.cumsum(count) - count)]


def _alike(owner: np.ndarray, key: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chosen words, and the words that they share a key with, themselves among them."""
    some = np.flatnonzero(np.isin(owner, chosen))
    words = int(owner.max()) + 1
    codes = [
        np.unique(owner[some[probe]] * words + owner[entry])
        for entry, probe in equal(key, key[some])
    ]
    code = np.unique(np.concatenate(codes))
    return code // words, code % words


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
        return places, self.keys[ragged_ranges(self.start[owners], many)]


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
