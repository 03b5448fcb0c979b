"""Hash words and their deletions, to find words that are spelled alike.

Symmetric deletion (Garbe's SymSpell, 2012): two words within one edit become equal after deleting
at most one letter from each. So two words with a common hash may differ by a typo.

A word is hashed as a polynomial of its letters' hashes modulo 2^64. The hash of each deletion is
then a sum of two prefixes, and costs no pass over the word. The chance that two different words
have the same hash is about 1 in 2^64.
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
REPEAT = np.uint64(0xD6E8FEB86659FD93)  # odd, so that multiples of it do not repeat modulo 2^64


@dataclass(frozen=True)
class Words:
    """The words of n texts, one text after the other.

    Attributes:
        values: (words,) uint64, the hash of each word; text i has the words from `starts[i]` to
            `starts[i + 1]`.
        starts: (n + 1,) int64.
        begin: (words + 1,) int64, the index of each word's first letter, with the end of all.
        letters: (letters,) int64, the index of each letter in `alphabet`.
        sums: (letters + 1,) uint64, prefix sums of the polynomial's terms.
        fixed: (words,) bool, words with digits, which have one spelling.
        content: (n,) uint64, the sum of the hashes of a text's letters: equal for texts with the
            same letters in any order.
        alphabet: (distinct letters,) uint64, their hashes.
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
    """Hashes of words and of their deletions.

    Attributes:
        owner: (k,) int64, the word, as an index into those that were asked for.
        keys: (k,) uint64 hashes.
        deleted_at: (k,) int64, the position in the word of the deleted letter; -1 for the word.
        letter: (k,) int64, the deleted letter's index in `alphabet`; -1 for the word.
    """

    owner: np.ndarray
    keys: np.ndarray
    deleted_at: np.ndarray
    letter: np.ndarray


def split_words(normalised: Sequence[str]) -> Words:
    """The words of normalised texts; each text must have at least one."""
    code, letter, bounds = letters(normalised)
    first = letter[code[letter - 1] == ord(" ")]
    begin = np.r_[np.searchsorted(letter, first), len(letter)]
    position = ragged_ranges(0, np.diff(begin))
    code = code[letter]
    alphabet = np.flatnonzero(np.bincount(code))
    rank = np.zeros(int(alphabet.max(initial=0)) + 1, np.int64)
    rank[alphabet] = np.arange(len(alphabet))
    hashes = hash_codes(alphabet.astype(np.uint64))
    letter_hash = hashes[rank[code]]
    sums = np.zeros(len(letter) + 1, np.uint64)
    terms = letter_hash * _powers(int(position.max(initial=0)) + 1)[position]
    np.cumsum(terms, out=sums[1:])
    is_empty = not len(first)
    return Words(
        values=sums[begin[1:]] - sums[begin[:-1]],
        starts=np.searchsorted(begin, bounds),
        begin=begin,
        letters=rank[code],
        sums=sums,
        fixed=np.zeros(0, bool)
        if is_empty
        else np.logical_or.reduceat(_digits()[code], begin[:-1]),
        content=np.empty(0, np.uint64) if is_empty else np.add.reduceat(letter_hash, bounds[:-1]),
        alphabet=hashes,
    )


def spellings(words: Words, which: np.ndarray) -> Spellings:
    """The hashes of some words, and of each with one letter deleted.

    Words of one letter and words with digits have no deletions.

    Args:
        which: (k,) indices of words.
    """
    begin = words.begin[which]
    count = words.begin[which + 1] - begin
    count = np.where(words.fixed[which] | (count < 2), 0, count)
    owner = np.repeat(np.arange(len(which)), count)
    letter, word = ragged_ranges(begin, count), which[owner]
    before = words.sums[letter] - words.sums[words.begin[word]]
    after = words.sums[words.begin[word + 1]] - words.sums[letter + 1]
    whole_words = np.arange(len(which))
    none = np.full(len(which), -1)
    return Spellings(
        owner=np.r_[whole_words, owner],
        # The letters after the deleted one move up: their powers are one less.
        keys=np.r_[words.values[which], before + after * _INVERSE],
        deleted_at=np.r_[none, letter - words.begin[word]],
        letter=np.r_[none, words.letters[letter]],
    )


def letters_used(words: Words) -> tuple[np.ndarray, np.ndarray]:
    """The distinct letters of each text: (k,) texts, ascending, and (k,) indices in `alphabet`."""
    bounds = words.begin[words.starts]
    is_used = np.zeros((len(bounds) - 1, len(words.alphabet)), bool)
    is_used[np.repeat(np.arange(len(is_used)), np.diff(bounds)), words.letters] = True
    text, letter = np.nonzero(is_used)
    return text, letter


def word_multisets(words: Words) -> tuple[Shingles, np.ndarray]:
    """The words of each text as a set, in which the repeats of a word are elements of their own.

    Returns:
        The sets, sorted within each text, and (words,) the index in `words` of each element.
    """
    text = np.repeat(np.arange(len(words.starts) - 1), np.diff(words.starts))
    order = np.lexsort((words.values, text))
    values = words.values[order]
    is_new = np.ones(len(values), bool)
    is_new[1:] = (values[1:] != values[:-1]) | (text[1:] != text[:-1])
    index = np.arange(len(values))
    repeat = index - np.maximum.accumulate(np.where(is_new, index, 0))
    values = values + repeat * REPEAT
    resorted = np.lexsort((values, text))
    return Shingles(values[resorted], words.starts), order[resorted]


def hash_codes(values: np.ndarray) -> np.ndarray:
    """Hash (n,) uint64 to (n,) uint64."""
    return splitmix64(values * np.uint64(_BASE) + np.uint64(_BASE))


def _powers(count: int) -> np.ndarray:
    """The powers of the base modulo 2^64, from 0 on, (count,) uint64."""
    factors = np.full(count, _BASE, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


@cache
def _digits() -> np.ndarray:
    """Which code points are digits, (0x110000,) bool."""
    characters = "".join(map(chr, range(0x110000)))
    out = np.zeros(len(characters), bool)
    out[[m.start() for m in re.finditer(r"\d", characters)]] = True
    return out
