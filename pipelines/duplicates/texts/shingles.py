"""Texts as sets of shingles: each letter with its two neighbours within the word.

Sets do not know in which order words stand, so a reordered text is the same set; a typo changes
three shingles, another word as many as it is long. Case, punctuation, white space and Unicode's
compatibility forms (NFKC) are folded away.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.duplicates.pair_joins import spans
from store.arrays import lookup, ragged_ranges

_MOST = 10_000
_NO_WORD = re.compile(r"[^\w\0]+|_+")
_SPACE, _END = np.uint32(ord(" ")), np.uint32(ord("\n"))


@dataclass(frozen=True)
class Shingles:
    """Of texts, one after the other: three code points in one uint64 each, with repeats.

    Text i has `values[starts[i] : starts[i + 1]]`.
    """

    values: np.ndarray
    starts: np.ndarray


def fold(texts: Sequence[str]) -> list[str]:
    """The words of texts, in lower case, one space between them; of long texts those of the first
    10,000 characters."""
    whole = "\0".join(t[:_MOST].replace("\0", " ") for t in texts)
    if not whole.isascii():
        whole = unicodedata.normalize("NFKC", whole).casefold()
    folded = _NO_WORD.sub(" ", whole.lower())
    return [t.strip() for t in folded.split("\0")]


def letters(folded: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The code points of folded texts, with spaces around each word; the places of letters in
    them; and where each text begins in these places, with the end of all."""
    whole = "".join([" ", " \n ".join(folded), " \n "])
    code = np.frombuffer(whole.encode("utf-32-le"), "<u4")
    middle = np.flatnonzero((code != _SPACE) & (code != _END))
    ends = np.flatnonzero(code == _END)[: len(folded)]
    return code, middle, np.r_[0, np.searchsorted(middle, ends)]


def shingle(folded: Sequence[str]) -> Shingles:
    """The shingles of folded texts."""
    code, middle, starts = letters(folded)
    triple = [code[middle + shift].astype(np.uint64) for shift in (-1, 0, 1)]
    values = triple[0] << np.uint64(42) | triple[1] << np.uint64(21) | triple[2]
    return Shingles(values, starts)


def sets(shingles: Shingles) -> Shingles:
    """The same without repeats, sorted within each text."""
    text = np.repeat(np.arange(len(shingles.starts) - 1), np.diff(shingles.starts))
    order = np.lexsort((shingles.values, text))
    text, values = text[order], shingles.values[order]
    new = np.ones(len(values), bool)
    new[1:] = (values[1:] != values[:-1]) | (text[1:] != text[:-1])
    count = np.bincount(text[new], minlength=len(shingles.starts) - 1)
    return Shingles(values[new], np.r_[0, np.cumsum(count)])


def shared(of: Shingles, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many shingles pairs of sets share, int64 (k,). Args: `x`, `y`: their rows."""
    sizes = np.diff(of.starts)
    less = sizes[x] < sizes[y]
    out = np.zeros(len(x), np.int64)
    for pair, _, there in inside(of, np.where(less, x, y), np.where(less, y, x)):
        out += np.bincount(pair[there], minlength=len(x))
    return out


def inside(
    of: Shingles, x: np.ndarray, y: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of pairs of sets (k,) what the sets x hold: the pair, the place in `of`, and whether the set
    y holds it too; in blocks of bounded size."""
    sizes = np.diff(of.starts)
    # Each set is a run of sorted codes, text and value, so that one array holds them all.
    distinct, rank = np.unique(of.values, return_inverse=True)
    codes = np.repeat(np.arange(len(sizes)), sizes) * len(distinct) + rank
    for here in spans(sizes[x]):
        many = sizes[x[here]]
        members = ragged_ranges(of.starts[x[here]], many)
        wanted = np.repeat(y[here], many) * len(distinct) + rank[members]
        yield np.repeat(np.arange(len(x))[here], many), members, lookup(codes, wanted) >= 0
