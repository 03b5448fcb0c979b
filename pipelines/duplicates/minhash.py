"""Near-duplicate texts: MinHash with banded LSH (Broder 1997; Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", chapter 3), candidates verified by the exact Jaccard similarity.

Signatures are 128 minima, of which 16 bits each are kept (b-bit MinHash, Li and Koenig 2010). Bands
have as many rows as leave a recall of 0.99 at the threshold; above it recall is higher. Texts
with fewer than 8 shingles say too little to be near to another: they match only themselves.

Similar sets can still tell of other things: "a photo of a red cat ..." and the same of a dog are
one template. So of two texts with words of their own each, some pair of these words must be spelled
alike (`alike`): a typo passes, another subject or another number does not.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.duplicates.joins import MOST, Pairs, collect, distinct, equal
from pipelines.duplicates.shingles import fold, jaccard, sets, shingle

HASHES = 128
RECALL = 0.99
LEAST = 8  # shingles
_TEXTS, _CHUNK = 4096, 1 << 14
_WORD = 0.25  # shingles that two spellings of a word share at least
_rng = np.random.default_rng(20240229)
_MULTIPLY = _rng.integers(0, 1 << 32, HASHES, np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, HASHES, np.uint32)


def signatures(texts: Sequence[str]) -> np.ndarray:
    """Uint16 (n, 128); all zero for texts that are too short."""
    blocks = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
    return np.concatenate([np.empty((0, HASHES), np.uint16), *map(_signatures, blocks)])


def pairs(
    signed: np.ndarray,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int = 0,
) -> Pairs:
    """Pairs of texts with a Jaccard similarity of `threshold` or more, of which at least one is at
    `first` or after it.

    Args:
        signed: uint16 (n, 128), their signatures.
        texts: gives the texts of some rows.
    """
    long_enough: np.ndarray = np.any(signed, axis=1)

    def found() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for x, y in _candidates(signed, long_enough, threshold, first):
            for start in range(0, len(x), _TEXTS):
                yield _verified(
                    x[start : start + _TEXTS], y[start : start + _TEXTS], texts, threshold
                )

    return collect(found(), len(signed))


def rows_a_band(threshold: float) -> int:
    """The most rows with which a pair at the threshold meets in some band, 99 times in 100."""
    fits = [r for r in range(1, 17) if 1 - (1 - threshold**r) ** (HASHES // r) >= RECALL]
    return max(fits, default=1)


def _signatures(texts: Sequence[str]) -> np.ndarray:
    shingles = shingle(fold(texts))
    signed = np.zeros((HASHES, len(texts)), np.uint16)
    starts, many = shingles.starts, np.diff(shingles.starts)
    enough = np.flatnonzero(many >= LEAST)
    mixed = _mix(shingles.values)
    at = 0
    while at < len(enough):  # chunks stay in the processor's cache while they are hashed
        begin = starts[enough[at]]
        stop = max(at + 1, int(np.searchsorted(starts[enough + 1], begin + _CHUNK, "right")))
        some = enough[at:stop]
        lengths = many[some]
        if (some[-1] + 1 - some[0]) == len(some):
            values = mixed[begin : starts[some[-1] + 1]]
        else:
            values = np.concatenate([mixed[starts[t] : starts[t + 1]] for t in some])
        offsets = np.cumsum(lengths) - lengths
        hashed = np.empty_like(values)
        for row in range(HASHES):
            np.multiply(values, _MULTIPLY[row], out=hashed)
            np.add(hashed, _ADD[row], out=hashed)
            signed[row, some] = np.minimum.reduceat(hashed, offsets) >> 8
        at = stop
    return np.ascontiguousarray(signed.T)


def _mix(values: np.ndarray) -> np.ndarray:
    """Uint32 hashes of uint64 (the finaliser of splitmix64)."""
    z = values * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(32)).astype(np.uint32)


def _candidates(
    signed: np.ndarray, long_enough: np.ndarray, threshold: float, first: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that share a band and whose signatures agree about as often as they should."""
    rows = rows_a_band(threshold)
    kept = np.flatnonzero(long_enough)
    new = kept[kept >= first]
    # Agreement is binomial: three deviations below the threshold lose one pair in a thousand.
    least = threshold - 3 * np.sqrt(threshold * (1 - threshold) / HASHES)
    step = MOST // HASHES
    for band in range(HASHES // rows):
        keys = _band(signed, band * rows, rows)
        for entry, probe in equal(keys[new], keys[kept]):
            x, y = kept[probe], new[entry]
            x, y = distinct(x[x < y], y[x < y], len(signed))
            for start in range(0, len(x), step):
                a, b = x[start : start + step], y[start : start + step]
                agree = (signed[a] == signed[b]).mean(axis=1, dtype=np.float32) >= least
                if agree.any():
                    yield a[agree], b[agree]


def _band(signed: np.ndarray, start: int, rows: int) -> np.ndarray:
    key = np.zeros(len(signed), np.uint64)
    for row in range(start, start + rows):
        key = (key ^ signed[:, row]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _verified(
    x: np.ndarray, y: np.ndarray, texts: Callable[[np.ndarray], Sequence[str]], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, place = np.unique(np.r_[x, y], return_inverse=True)
    folded = fold(texts(rows))
    a, b = place[: len(x)], place[len(x) :]
    similarity = jaccard(sets(shingle(folded)), a, b)
    near = np.flatnonzero(similarity >= threshold)
    near = near[[alike(folded[a[i]], folded[b[i]]) for i in near]] if len(near) else near
    return x[near], y[near], similarity[near]


def alike(one: str, other: str) -> bool:
    """Whether two folded texts may tell of the same: words of one alone must be spellings of words
    of the other alone, except where only one of them has any to spare.

    Words with digits have one spelling.
    """
    if one == other:
        return True
    a, b = Counter(one.split()), Counter(other.split())
    mine, theirs = a - b, b - a
    if not mine or not theirs:
        return True
    few, many = sorted((list(mine), list(theirs)), key=len)
    joined = "".join(few), "".join(many)
    if sorted(joined[0]) == sorted(joined[1]):  # words run together or taken apart
        return True
    return all(any(_spelled_alike(w, v) for v in many) for w in few)


def _spelled_alike(word: str, other: str) -> bool:
    if any(map(str.isdigit, word + other)):
        return word == other
    a, b = _letters(word), _letters(other)
    shared = len(a & b)
    return shared >= _WORD * (len(a) + len(b) - shared)


def _letters(word: str) -> set[str]:
    """Pairs of letters, with the ends marked: what a typo leaves of a short word."""
    marked = f" {word} "
    return {marked[i : i + 2] for i in range(len(marked) - 1)}
