"""Texts as sets of shingles: each letter with its two neighbours within the word.

A set ignores the order of words, so a reordered text has the same set. A typo changes three
shingles; another word changes as many as it has letters. Case, punctuation, white space and
Unicode's compatibility forms (NFKC) are normalised away.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.duplicates.pair_joins import bounded_slices
from store.arrays import lookup, ragged_ranges

_MOST = 10_000  # characters of a text that are compared
_NO_WORD = re.compile(r"[^\w\0]+|_+")
_SPACE, _END = np.uint32(ord(" ")), np.uint32(ord("\n"))


@dataclass(frozen=True)
class Shingles:
    """The shingles of n texts, one text after the other.

    Attributes:
        values: (shingles,) uint64, three code points each; text i has
            `values[starts[i] : starts[i + 1]]`.
        starts: (n + 1,) int64.
    """

    values: np.ndarray
    starts: np.ndarray


def normalise_texts(texts: Sequence[str]) -> list[str]:
    """The words of each text in lower case with single spaces between them.

    Of a long text only the first 10,000 characters are used.
    """
    joined = "\0".join(t[:_MOST].replace("\0", " ") for t in texts)
    if not joined.isascii():
        joined = unicodedata.normalize("NFKC", joined).casefold()
    normalised = _NO_WORD.sub(" ", joined.lower())
    return [t.strip() for t in normalised.split("\0")]


def letters(normalised: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The code points of normalised texts.

    Returns:
        (characters,) uint32 code points, with spaces around each word; (letters,) int64 indices
        of the letters in them; and (texts + 1,) int64, the index of each text's first letter in
        these, with the number of letters at the end.
    """
    joined = "".join([" ", " \n ".join(normalised), " \n "])
    code = np.frombuffer(joined.encode("utf-32-le"), "<u4")
    letter = np.flatnonzero((code != _SPACE) & (code != _END))
    ends = np.flatnonzero(code == _END)[: len(normalised)]
    return code, letter, np.r_[0, np.searchsorted(letter, ends)]


def shingle(normalised: Sequence[str]) -> Shingles:
    """The shingles of normalised texts, in their order and with repeats."""
    code, letter, starts = letters(normalised)
    triple = [code[letter + shift].astype(np.uint64) for shift in (-1, 0, 1)]
    values = triple[0] << np.uint64(42) | triple[1] << np.uint64(21) | triple[2]
    return Shingles(values, starts)


def shingle_sets(shingles: Shingles) -> Shingles:
    """The distinct shingles of each text, sorted."""
    text = np.repeat(np.arange(len(shingles.starts) - 1), np.diff(shingles.starts))
    order = np.lexsort((shingles.values, text))
    text, values = text[order], shingles.values[order]
    is_new = np.ones(len(values), bool)
    is_new[1:] = (values[1:] != values[:-1]) | (text[1:] != text[:-1])
    count = np.bincount(text[is_new], minlength=len(shingles.starts) - 1)
    return Shingles(values[is_new], np.r_[0, np.cumsum(count)])


def count_shared(sets: Shingles, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Count the values that pairs of sets share.

    Args:
        sets: as `shingle_sets` returns them.
        x, y: (k,) the sets of each pair.

    Returns:
        (k,) int64.
    """
    sizes = np.diff(sets.starts)
    x_is_smaller = sizes[x] < sizes[y]
    smaller, larger = np.where(x_is_smaller, x, y), np.where(x_is_smaller, y, x)
    counts = np.zeros(len(x), np.int64)
    for pair, _, is_shared in membership(sets, smaller, larger):
        counts += np.bincount(pair[is_shared], minlength=len(x))
    return counts


def membership(
    sets: Shingles, x: np.ndarray, y: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For pairs of sets, which values of set x are also in set y.

    Args:
        sets: sorted within each set.
        x, y: (k,) the sets of each pair.

    Returns:
        Blocks of bounded size, a row for each value of each set x: the pair, the index of the
        value in `sets.values`, and whether set y has the value too.
    """
    sizes = np.diff(sets.starts)
    # A code of set and value: one sorted array that holds all sets, and is searched at once.
    distinct, rank = np.unique(sets.values, return_inverse=True)
    codes = np.repeat(np.arange(len(sizes)), sizes) * len(distinct) + rank
    for block in bounded_slices(sizes[x]):
        count = sizes[x[block]]
        index = ragged_ranges(sets.starts[x[block]], count)
        pair = np.repeat(np.arange(len(x))[block], count)
        yield pair, index, lookup(codes, y[pair] * len(distinct) + rank[index]) >= 0
