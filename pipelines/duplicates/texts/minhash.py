"""Find near-duplicate texts by MinHash with banded LSH, verified by the exact Jaccard similarity.

MinHash and banding: Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
chapter 3. Signatures are 128 minima, of which 16 bits each are kept (b-bit MinHash, Li and Koenig
2010). Bands have as many rows as give a recall of 0.99 at the threshold; recall is higher above it.
Texts with fewer than 8 shingles are never near to others, because they match by chance.

Texts with similar sets may still say different things: "a photo of a red cat ..." and the same of
a dog are one template. So the words that only one of two texts has are compared too
(`same_template`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.duplicates.pair_joins import (
    Pairs,
    bounded_slices,
    collect_pairs,
    distinct_pairs,
)
from pipelines.duplicates.texts.large_buckets import LargeBuckets
from pipelines.duplicates.texts.shingles import (
    count_shared,
    normalise_texts,
    shingle,
    shingle_sets,
)
from pipelines.duplicates.texts.spelling import split_words
from pipelines.duplicates.texts.templates import same_template
from store.arrays import ragged_ranges

HASHES = 128
RECALL = 0.99
LEAST_SHINGLES = 8  # of a text that is compared
LARGE_BUCKET = 64  # new texts in a bucket; above it not all pairs are candidates
_TEXTS, _CHUNK = 4096, 1 << 14  # texts, and shingles, that are hashed at a time
_COMPARED, _VERIFIED = 1 << 14, 1 << 14  # pairs at a time
_rng = np.random.default_rng(20240229)
_MULTIPLY = _rng.integers(0, 1 << 32, HASHES, np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, HASHES, np.uint32)


def signatures(texts: Sequence[str]) -> np.ndarray:
    """The MinHash signatures of texts, (n, 128) uint16; all zero for texts that are too short."""
    blocks = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
    return np.concatenate([np.empty((0, HASHES), np.uint16), *map(_signatures, blocks)])


def pairs(
    signed: np.ndarray,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int = 0,
) -> Pairs:
    """Find the pairs of near-duplicate texts.

    Whether a pair is found depends on its two texts alone, not on the other texts.

    Args:
        signed: (n, 128) uint16, the signatures.
        texts: reads the texts of some rows.
        threshold: the least Jaccard similarity of the sets of shingles.
        first: pairs of two texts before it are left out.
    """
    long_enough: np.ndarray = np.any(signed, axis=1)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for x, y in _batches(_candidates(signed, long_enough, texts, threshold, first)):
            yield _verified(x, y, texts, threshold)

    return collect_pairs(blocks(), len(signed))


def rows_a_band(threshold: float) -> int:
    """The most rows a band with which a pair at the threshold shares a band 99 times in 100."""
    fits = [r for r in range(1, 17) if 1 - (1 - threshold**r) ** (HASHES // r) >= RECALL]
    return max(fits, default=1)


def least_equal(threshold: float) -> float:
    """How many minima of two signatures must be equal for a candidate.

    The number is binomial. Three standard deviations below its mean at the threshold lose one pair
    in a thousand.
    """
    return HASHES * threshold - 3 * (HASHES * threshold * (1 - threshold)) ** 0.5


def _signatures(texts: Sequence[str]) -> np.ndarray:
    shingles = shingle(normalise_texts(texts))
    signed = np.zeros((HASHES, len(texts)), np.uint16)
    starts, counts = shingles.starts, np.diff(shingles.starts)
    long_enough = np.flatnonzero(counts >= LEAST_SHINGLES)
    hashes = _hash_shingles(shingles.values)
    index = 0
    while index < len(long_enough):  # a chunk stays in the processor's cache while it is hashed
        begin = starts[long_enough[index]]
        end = int(np.searchsorted(starts[long_enough + 1], begin + _CHUNK, "right"))
        stop = max(index + 1, end)
        chunk = long_enough[index:stop]
        lengths = counts[chunk]
        if (chunk[-1] + 1 - chunk[0]) == len(chunk):
            values = hashes[begin : starts[chunk[-1] + 1]]
        else:
            values = np.concatenate([hashes[starts[t] : starts[t + 1]] for t in chunk])
        offsets = np.cumsum(lengths) - lengths
        permuted = np.empty_like(values)
        for row in range(HASHES):
            np.multiply(values, _MULTIPLY[row], out=permuted)
            np.add(permuted, _ADD[row], out=permuted)
            signed[row, chunk] = np.minimum.reduceat(permuted, offsets) >> 8
        index = stop
    return np.ascontiguousarray(signed.T)


def _hash_shingles(values: np.ndarray) -> np.ndarray:
    """Hash (n,) uint64 to (n,) uint32: SplitMix64 without its last step.

    Stored signatures depend on these hashes. So this is not `store.arrays.splitmix64`, whose last
    step changes one bit of the result.
    """
    z = values * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(32)).astype(np.uint32)


def _candidates(
    signed: np.ndarray,
    long_enough: np.ndarray,
    texts: Callable[[np.ndarray], Sequence[str]],
    threshold: float,
    first: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that share a band and have enough equal minima; each comes once, at its first band."""
    rows = rows_a_band(threshold)
    kept = np.flatnonzero(long_enough)
    least = least_equal(threshold)
    starts = np.arange(0, HASHES - rows + 1, rows)
    bands = [_buckets(_band(signed, start, rows)[kept], kept >= first) for start in starts.tolist()]
    in_large = np.zeros(len(kept), bool)
    for band in bands:
        in_large[band.member[band.is_large]] = True
    index = LargeBuckets(kept[in_large], texts) if in_large.any() else None
    for number, band in enumerate(bands):
        for x, y in _pairs_in_buckets(kept, band, first, index):
            for start in range(0, len(x), _COMPARED):
                a, b = x[start : start + _COMPARED], y[start : start + _COMPARED]
                equal = signed[a] == signed[b]
                enough = equal.sum(axis=1) >= least
                a, b, equal = a[enough], b[enough], equal[enough]
                shares = np.logical_and.reduceat(equal[:, : starts[-1] + rows], starts, axis=1)
                is_first = shares.argmax(axis=1) == number
                yield a[is_first], b[is_first]


@dataclass(frozen=True)
class _Buckets:
    """The texts that share a band with another text, bucket by bucket.

    Attributes:
        member: (k,) indices of the texts.
        bucket: (k,) the number of the bucket of each, ascending from 0.
        is_large: (k,) bool, whether the bucket has more than `LARGE_BUCKET` new texts.
    """

    member: np.ndarray
    bucket: np.ndarray
    is_large: np.ndarray


def _buckets(keys: np.ndarray, new: np.ndarray) -> _Buckets:
    """Group texts by the hash of a band; buckets of one text, or without new ones, are left out.

    Args:
        keys: (n,) uint64, the hash of each text's band.
        new: (n,) bool.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.r_[True, ordered[1:] != ordered[:-1]][: len(keys)]
    bucket = np.cumsum(begins) - 1
    new_count = np.bincount(bucket, new[order]) if len(bucket) else bucket
    is_shared = ((np.bincount(bucket) > 1) & (new_count > 0))[bucket] if len(bucket) else begins
    member, bucket = order[is_shared], bucket[is_shared]
    bucket = np.unique(bucket, return_inverse=True)[1]
    is_large = np.bincount(bucket, new[member]) > LARGE_BUCKET if len(bucket) else begins[:0]
    return _Buckets(member, bucket, is_large[bucket])


def _pairs_in_buckets(
    kept: np.ndarray, band: _Buckets, first: int, index: LargeBuckets | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs in one bucket with a new text: all of small buckets, candidates of large ones.

    Args:
        kept: the rows of the texts that `band.member` indexes.
        index: of the texts in large buckets.
    """
    small = ~band.is_large
    rows, bucket = kept[band.member[small]], band.bucket[small]
    size = np.bincount(bucket, minlength=1)
    begin = (np.cumsum(size) - size)[bucket]
    new = np.flatnonzero(rows >= first)
    for block in bounded_slices(size[bucket[new]]):
        members = new[block]
        x = rows[ragged_ranges(begin[members], size[bucket[members]])]
        y = np.repeat(rows[members], size[bucket[members]])
        yield x[x < y], y[x < y]
    if index and band.is_large.any():
        rows, bucket = kept[band.member[band.is_large]], band.bucket[band.is_large]
        for x, y in index.candidates(rows, bucket, first):
            yield distinct_pairs(x, y, int(kept[-1]) + 1)


def _band(signed: np.ndarray, start: int, rows: int) -> np.ndarray:
    """A hash of each signature's minima from `start` to `start + rows`, (n,) uint64."""
    key = np.zeros(len(signed), np.uint64)
    for row in range(start, start + rows):
        key = (key ^ signed[:, row]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _batches(
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs, `_VERIFIED` at a time, so that the fixed costs of a batch do not matter."""
    x = y = np.empty(0, np.int64)
    for a, b in blocks:
        x, y = np.r_[x, a], np.r_[y, b]
        while len(x) >= _VERIFIED:
            yield x[:_VERIFIED], y[:_VERIFIED]
            x, y = x[_VERIFIED:], y[_VERIFIED:]
    yield x, y


def _verified(
    x: np.ndarray, y: np.ndarray, texts: Callable[[np.ndarray], Sequence[str]], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of rows that are near-duplicates, and their Jaccard similarity, float32."""
    rows, index = np.unique(np.r_[x, y], return_inverse=True)
    normalised = np.array(normalise_texts(texts(rows)), object)
    lengths = np.array([len(t) for t in normalised], np.int64)
    a, b = index[: len(x)], index[len(x) :]
    similarity = np.full(len(x), -1, np.float32)
    for block in bounded_slices(lengths[a] + lengths[b]):
        block_texts, one, other = _distinct_texts(normalised, a[block], b[block])
        is_copy = ~same_template(split_words(block_texts), one, other)
        copies = np.arange(len(x))[block][is_copy]
        copy_texts, one, other = _distinct_texts(normalised, a[copies], b[copies])
        sets = shingle_sets(shingle(copy_texts))
        sizes, shared = np.diff(sets.starts), count_shared(sets, one, other)
        similarity[copies] = shared / np.maximum(sizes[one] + sizes[other] - shared, 1)
    near = similarity >= threshold
    return x[near], y[near], similarity[near]


def _distinct_texts(
    normalised: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The texts of pairs (k,), each once, and the indices of the pairs' sides in them."""
    distinct, index = np.unique(np.r_[a, b], return_inverse=True)
    return normalised[distinct].tolist(), index[: len(a)], index[len(a) :]
