"""Sign texts by MinHash, and hash the bands of their signatures.

MinHash and banding: Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
chapter 3. Signatures are 128 minima, of which 16 bits each are kept (b-bit MinHash, Li and Koenig
2010). Bands have as many rows as give a recall of 0.99 at the threshold; recall is higher above it.
Texts with fewer than 8 shingles are never near to others, because they match by chance.
"""

from collections.abc import Sequence

import numpy as np

from pipelines.duplicates.texts.shingles import normalise_texts, shingle

HASHES = 128
RECALL = 0.99
LEAST_SHINGLES = 8  # of a text that is compared
_TEXTS, _CHUNK = 4096, 1 << 14  # texts, and shingles, that are hashed at a time
_rng = np.random.default_rng(20240229)
_MULTIPLY = _rng.integers(0, 1 << 32, HASHES, np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, HASHES, np.uint32)
_WORDS = 4  # of 64 bits: two bits of each minimum
_LOW_BITS = np.uint64(0x5555555555555555)
_TWO_BITS = np.uint64(0x0003000300030003)  # of each of the four minima in 64 bits


def signatures(texts: Sequence[str]) -> np.ndarray:
    """The MinHash signatures of texts, (n, 128) uint16; all zero for texts that are too short."""
    blocks = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
    return np.concatenate([np.empty((0, HASHES), np.uint16), *map(_signatures, blocks)])


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


def band_starts(threshold: float) -> range:
    """The first minimum of each band."""
    rows = rows_a_band(threshold)
    return range(0, HASHES - rows + 1, rows)


def band_hashes(signed: np.ndarray, start: int, rows: int) -> np.ndarray:
    """A hash of each signature's minima from `start` to `start + rows`, (n,) uint64."""
    key = np.zeros(len(signed), np.uint64)
    for row in range(start, start + rows):
        key = (key ^ signed[:, row]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def sketches(signed: np.ndarray) -> np.ndarray:
    """Two bits of each minimum of signatures (n, 128), (n, 4) uint64."""
    four = signed.view(np.uint64).reshape(len(signed), _WORDS, HASHES // 4 // _WORDS)
    out = np.zeros((len(signed), _WORDS), np.uint64)
    for number in range(four.shape[2]):
        out |= (four[:, :, number] & _TWO_BITS) << np.uint64(2 * number)
    return out


def count_different(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How many minima surely differ, (k,), by pairs of sketches (k, 4).

    Minima with equal sketches can differ too.
    """
    changed = one ^ other
    different: np.ndarray = np.bitwise_count((changed | (changed >> np.uint64(1))) & _LOW_BITS)
    return different.sum(axis=1)


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
