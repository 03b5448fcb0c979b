"""Words of texts as hashes, and what is left of them less one letter (symmetric deletion, after
Garbe's SymSpell 2012): words that share one of these are spelled alike.

A word is a polynomial of its letters' hashes modulo 2^64, so that the hash of each deletion is a
sum of two prefixes. Two different words in 2^64 have one hash.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from pipelines.duplicates.texts.shingles import Shingles, letters
from store.arrays import ragged_ranges, splitmix64

_BASE = 0x9E3779B97F4A7C15
_INVERSE = np.uint64(pow(_BASE, -1, 1 << 64))
AGAIN = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Words:
    """Of texts, one after the other; text i has the words `starts[i]` to `starts[i + 1]`.

    Args:
        values: uint64 (words,), their hashes.
        begin: (words + 1,), where their letters stand.
        letters: int64 (letters,), their places in `alphabet`.
        sums: uint64 (letters + 1,), of the letters' terms up to each.
        fixed: bool (words,), those with digits, which have one spelling.
        content: uint64 (texts,), sums of the hashes of their letters: equal where texts have the
            same letters in any order.
        alphabet: uint64, hashes of all letters, each once.
    """

    values: np.ndarray
    starts: np.ndarray
    begin: np.ndarray
    letters: np.ndarray
    sums: np.ndarray
    fixed: np.ndarray
    content: np.ndarray
    alphabet: np.ndarray


@dataclass(frozen=True)
class Spellings:
    """Of words, whole and less a letter: whose, a uint64 hash, and which letter was left out and
    where, -1 for none."""

    owner: np.ndarray
    keys: np.ndarray
    at: np.ndarray
    letter: np.ndarray


def words(folded: Sequence[str]) -> Words:
    """The words of folded texts, each of which has one."""
    code, middle, bounds = letters(folded)
    first = middle[code[middle - 1] == ord(" ")]
    begin = np.r_[np.searchsorted(middle, first), len(middle)]
    place = ragged_ranges(0, np.diff(begin))
    code = code[middle]
    alphabet = np.flatnonzero(np.bincount(code))
    rank = np.zeros(int(alphabet.max(initial=0)) + 1, np.int64)
    rank[alphabet] = np.arange(len(alphabet))
    hashes = mix(alphabet.astype(np.uint64))
    mixed = hashes[rank[code]]
    sums = np.zeros(len(middle) + 1, np.uint64)
    np.cumsum(mixed * _powers(int(place.max(initial=0)) + 1)[place], out=sums[1:])
    return Words(
        values=sums[begin[1:]] - sums[begin[:-1]],
        starts=np.searchsorted(begin, bounds),
        begin=begin,
        letters=rank[code],
        sums=sums,
        fixed=np.logical_or.reduceat(_digits()[code], begin[:-1]) if len(first) else first > 0,
        content=np.add.reduceat(mixed, bounds[:-1]) if len(first) else np.empty(0, np.uint64),
        alphabet=hashes,
    )


def spellings(of: Words, which: np.ndarray) -> Spellings:
    """How the words at the places `which` are spelled, whole and less each of their letters (but
    never less all, and words with digits whole only)."""
    begin, many = of.begin[which], of.begin[which + 1] - of.begin[which]
    many = np.where(of.fixed[which] | (many < 2), 0, many)
    less = np.repeat(np.arange(len(which)), many)
    letter, word = ragged_ranges(begin, many), which[less]
    left = of.sums[letter] - of.sums[of.begin[word]]
    right = of.sums[of.begin[word + 1]] - of.sums[letter + 1]
    whole = np.arange(len(which))
    return Spellings(
        owner=np.r_[whole, less],
        keys=np.r_[of.values[which], left + right * _INVERSE],
        at=np.r_[whole * 0 - 1, letter - of.begin[word]],
        letter=np.r_[whole * 0 - 1, of.letters[letter]],
    )


def used(of: Words) -> tuple[np.ndarray, np.ndarray]:
    """Which letters each text uses: texts, in order, and places in `alphabet`."""
    bounds = of.begin[of.starts]
    there = np.zeros((len(bounds) - 1, len(of.alphabet)), bool)
    there[np.repeat(np.arange(len(there)), np.diff(bounds)), of.letters] = True
    text, letter = np.nonzero(there)
    return text, letter


def multisets(of: Words) -> tuple[Shingles, np.ndarray]:
    """Words as sets, in which a word that stands twice is two; and their places in `of`."""
    text = np.repeat(np.arange(len(of.starts) - 1), np.diff(of.starts))
    order = np.lexsort((of.values, text))
    values = of.values[order]
    new = np.ones(len(values), bool)
    new[1:] = (values[1:] != values[:-1]) | (text[1:] != text[:-1])
    place = np.arange(len(values))
    values = values + (place - np.maximum.accumulate(np.where(new, place, 0))) * AGAIN
    again = np.lexsort((values, text))
    return Shingles(values[again], of.starts), order[again]


def mix(values: np.ndarray) -> np.ndarray:
    """Uint64 hashes of uint64."""
    return splitmix64(values * np.uint64(_BASE) + np.uint64(_BASE))


def _powers(many: int) -> np.ndarray:
    factors = np.full(many, _BASE, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


@cache
def _digits() -> np.ndarray:
    """Bool (code points,)"""
    every = "".join(map(chr, range(0x110000)))
    out = np.zeros(len(every), bool)
    out[[m.start() for m in re.finditer(r"\d", every)]] = True
    return out
