"""Texts as sets of shingles: each letter with its two neighbours within the word.

Sets do not know in which order words stand, so a reordered text is the same set; a typo changes
three shingles, another word as many as it is long. Case, punctuation, white space and Unicode's
compatibility forms (NFKC) are folded away.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    """The words of texts, in lower case, one space between them; broken UTF-16 counts as spaces."""
    whole = "\0".join(t.replace("\0", " ") if "\0" in t else t for t in texts)
    if not whole.isascii():
        whole = unicodedata.normalize("NFKC", whole).casefold()
    folded = _NO_WORD.sub(" ", whole.lower())
    return [t.strip() for t in folded.split("\0")]


def shingle(folded: Sequence[str]) -> Shingles:
    """The shingles of folded texts."""
    whole = "".join([" ", " \n ".join(folded), " \n "])
    code = np.frombuffer(whole.encode("utf-32-le"), "<u4")
    middle = np.flatnonzero((code != _SPACE) & (code != _END))
    triple = [code[middle + shift].astype(np.uint64) for shift in (-1, 0, 1)]
    values = triple[0] << np.uint64(42) | triple[1] << np.uint64(21) | triple[2]
    ends = np.flatnonzero(code == _END)[: len(folded)]
    return Shingles(values, np.r_[0, np.searchsorted(middle, ends)])


def sets(shingles: Shingles) -> Shingles:
    """The same without repeats, sorted within each text."""
    text = np.repeat(np.arange(len(shingles.starts) - 1), np.diff(shingles.starts))
    order = np.lexsort((shingles.values, text))
    text, values = text[order], shingles.values[order]
    new = np.ones(len(values), bool)
    new[1:] = (values[1:] != values[:-1]) | (text[1:] != text[:-1])
    count = np.bincount(text[new], minlength=len(shingles.starts) - 1)
    return Shingles(values[new], np.r_[0, np.cumsum(count)])


def jaccard(of: Shingles, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shared over all shingles, float32 (k,), of pairs of sets by their rows."""
    sizes = np.diff(of.starts)
    small, large = np.where(sizes[x] < sizes[y], x, y), np.where(sizes[x] < sizes[y], y, x)
    # Each set is a run of (text, rank of the value) codes, so one sorted array holds them all.
    rank = np.unique(of.values, return_inverse=True)[1]
    text = np.repeat(np.arange(len(sizes)), sizes)
    width = int(rank.max(initial=0)) + 1
    codes = text * width + rank
    many = sizes[small]
    before = np.repeat(np.cumsum(many) - many, many)
    members = np.repeat(of.starts[small], many) + np.arange(many.sum()) - before
    wanted = np.repeat(large, many) * width + rank[members]
    place = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    pair = np.repeat(np.arange(len(x)), many)
    hit = codes[place] == wanted if len(codes) else np.zeros(0, bool)
    shared = np.bincount(pair[hit], minlength=len(x))
    return (shared / np.maximum(sizes[x] + sizes[y] - shared, 1)).astype(np.float32)
