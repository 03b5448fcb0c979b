"""Texts that are alike but for what they tell of: one template, filled in with other words.

Of two similar texts, look at the words that only one of them has. Where only one text has any, it
says more than the other: a copy. Where both have, each lacks what the other says, unless each of
these words is spelled like one of the other's: but for a letter more, less or another, or two
swapped. Then they are typos. So are words that were only run together, or taken apart, a letter
maybe standing for the space. Words with digits, and those of one letter, have one spelling.
"""

import numpy as np

from pipelines.duplicates.pair_joins import equal
from pipelines.duplicates.texts.shingles import Shingles, inside
from pipelines.duplicates.texts.spelling import AGAIN, Spellings, Words, multisets, spellings


def same_template(of: Words, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bool (k,): whether pairs of texts are one template with other words. Args: `x`, `y`: their
    places (k,) in `of`."""
    count = np.diff(of.starts)
    tokens, place = multisets(of)
    pair, mine = _missing(tokens, x, y)
    both = np.unique(pair)
    some, theirs = _missing(tokens, y[both], x[both])
    other = both[some]
    alike, alike_there = _alike(
        spellings(of, place[mine]), pair, spellings(of, place[theirs]), other
    )
    differs = np.zeros(len(x), bool)
    differs[pair[~alike]] = True
    differs[other[~alike_there]] = True
    has_more = np.zeros(len(x), bool)
    has_more[other] = True
    less = count[x] < count[y]
    added = of.content[np.where(less, x, y)] - of.content[np.where(less, y, x)]
    spaced = (count[x] != count[y]) & ((added == 0) | np.isin(added, of.alphabet))
    return differs & has_more & ~spaced


def _alike(
    one: Spellings, pair: np.ndarray, there: Spellings, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether words are spelled like a word on the other side of their pair, and the same of the
    other side's."""
    found, found_there = np.zeros(len(pair), bool), np.zeros(len(other), bool)
    keys = one.keys + pair[one.owner].astype(np.uint64) * AGAIN
    keys_there = there.keys + other[there.owner].astype(np.uint64) * AGAIN
    for a, b in equal(keys, keys_there):
        whole = (one.at[a] < 0) | (there.at[b] < 0)
        apart = np.abs(one.at[a] - there.at[b])
        edit = whole | (apart == 0) | ((apart == 1) & (one.letter[a] == there.letter[b]))
        found[one.owner[a[edit]]] = True
        found_there[there.owner[b[edit]]] = True
    return found, found_there


def _missing(tokens: Shingles, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What texts x have and y have not: pairs, and places in `tokens`."""
    blocks = [(pair[~there], at[~there]) for pair, at, there in inside(tokens, x, y)]
    none = [np.empty(0, np.int64)]
    return np.concatenate(none + [b[0] for b in blocks]), np.concatenate(
        none + [b[1] for b in blocks]
    )
