"""Near-duplicate texts: MinHash with banded LSH (Broder 1997; Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", chapter 3), candidates verified by the exact Jaccard similarity.

Signatures are 128 minima, of which 16 bits each are kept (b-bit MinHash, Li and Koenig 2010). Bands
have as many rows as leave a recall of 0.99 at the threshold; above it recall is higher. Texts
with fewer than 8 shingles say too little to be near to another: they match only themselves.

Similar sets can still tell of other things: "a photo of a red cat ..." and the same of a dog are
one template. So words that only one of two texts has count too (`same_template`): spelled alike
they are a typo, else another subject, or another number.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.duplicates.joins import Pairs, collect, equal
from pipelines.duplicates.shingles import fold, sets, shared, shingle
from pipelines.duplicates.templates import same_template

HASHES = 128
RECALL = 0.99
LEAST = 8  # shingles
_TEXTS, _CHUNK = 4096, 1 << 14
_COMPARED, _VERIFIED = 1 << 14, 1 << 14  # pairs at once
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
            for start in range(0, len(x), _VERIFIED):
                here = slice(start, start + _VERIFIED)
                yield _verified(x[here], y[here], texts, threshold)

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
    """Pairs that share a band and whose signatures agree about as often as they should, each at
    the first band that it shares."""
    rows = rows_a_band(threshold)
    kept = np.flatnonzero(long_enough)
    new = kept[kept >= first]
    # Agreement is binomial: three deviations below the threshold lose one pair in a thousand.
    least = HASHES * threshold - 3 * np.sqrt(HASHES * threshold * (1 - threshold))
    starts = np.arange(0, HASHES - rows + 1, rows)
    for band, start in enumerate(starts.tolist()):
        keys = _band(signed, start, rows)
        for entry, probe in equal(keys[new], keys[kept]):
            x, y = kept[probe], new[entry]
            x, y = x[x < y], y[x < y]
            for at in range(0, len(x), _COMPARED):
                a, b = x[at : at + _COMPARED], y[at : at + _COMPARED]
                agree = signed[a] == signed[b]
                enough = agree.sum(axis=1) >= least
                a, b, agree = a[enough], b[enough], agree[enough]
                shared = np.logical_and.reduceat(agree[:, : starts[-1] + rows], starts, axis=1)
                here = shared.argmax(axis=1) == band
                yield a[here], b[here]


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
    shingled = sets(shingle(folded))
    sizes, both = np.diff(shingled.starts), shared(shingled, a, b)
    similarity = (both / np.maximum(sizes[a] + sizes[b] - both, 1)).astype(np.float32)
    near = np.flatnonzero(similarity >= threshold)
    near = near[~same_template(folded, a[near], b[near])]
    return x[near], y[near], similarity[near]
