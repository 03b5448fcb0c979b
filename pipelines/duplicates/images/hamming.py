"""Find all pairs of 256-bit hashes within a Hamming distance, without missing any.

The bits are divided into bands. By the general pigeonhole principle (Qin et al. 2018, "GPH:
Similarity Search in Hamming Space"), if the radii t of the bands satisfy sum(t + 1) = r + 1, a pair
within distance r is within t in at least one band. So each new hash is listed in each band under
its value and under all values with up to t bits flipped. Every hash looks up its own value there,
and the distance of the matches is measured on all bits.

Memory is bounded, apart from the hashes (32 bytes each) and the pairs that are found. The number of
bands is the one with the least estimated work. The number of candidates grows with the square of
the rows, divided by 2^width of a band.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from math import comb

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect_pairs, equal_join

BITS = 256
Block = tuple[np.ndarray, np.ndarray, np.ndarray]
Blocks = Iterator[Block]
_ENTRIES = 1 << 22  # of the table of a band


def pairs(hashes: np.ndarray, radius: int, first: int = 0) -> Pairs:
    """Find the pairs of hashes within `radius` bits.

    Args:
        hashes: (n, 32) uint8, distinct or not.
        radius: in bits; PDQ's authors use 31 for the same image.
        first: pairs of two rows before it are left out.

    Returns:
        Pairs with the similarity 1 - distance / 256.
    """

    def blocks() -> Blocks:
        for y, x in _candidates(hashes, hashes, radius, first):
            once = x < y
            yield _verified(hashes, hashes, radius, x[once], y[once])

    return collect_pairs(blocks(), len(hashes))


def between(hashes: np.ndarray, others: np.ndarray, radius: int, first: int = 0) -> Blocks:
    """Find the pairs between two arrays of hashes within `radius` bits.

    Args:
        hashes, others: (n, 32) uint8 each.
        radius: in bits.
        first: pairs of two rows before it are left out.

    Returns:
        Blocks of rows of `hashes`, rows of `others` and 1 - distance / 256, (k,) each. A pair may
        come several times, and a row may be paired with itself.
    """
    for x, y in _candidates(hashes, others, radius, first, len(hashes)):
        yield _verified(hashes, others, radius, x, y)
    for y, x in _candidates(others, hashes, radius, first, first):
        yield _verified(hashes, others, radius, x, y)


def _verified(
    hashes: np.ndarray, others: np.ndarray, radius: int, x: np.ndarray, y: np.ndarray
) -> Block:
    one, other = (np.ascontiguousarray(h).view(np.uint64) for h in (hashes[x], others[y]))
    distance = np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int32)
    near = distance <= radius
    return x[near], y[near], 1 - distance[near] / BITS


def _candidates(
    new: np.ndarray, others: np.ndarray, radius: int, first: int, stop: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `new` and of `others` that are near in one of the bands.

    Args:
        first: rows of `new` before it are not listed.
        stop: rows of `others` from it on are not looked up. None if both are the same array: pairs
            whose row of `others` is the later one may then be left out.
    """
    for bits, flips in bands(radius, len(new)):
        keys, probes = _keys(new, bits), _keys(others, bits)
        masks = _masks(len(bits), flips).astype(keys.dtype)
        step = max(1, _ENTRIES // len(masks))
        for start in range(first, len(new), step):
            table = (keys[start : start + step, None] ^ masks).ravel()
            last = start + step if stop is None else stop
            for entry, y in equal_join(table, probes[:last]):
                yield start + entry // len(masks), y


def bands(radius: int, rows: int) -> list[tuple[np.ndarray, int]]:
    """The bands with the least estimated work for a number of rows.

    Returns:
        For each band: its bits, int64 numbers from 0 to 255, and how many of them are flipped.
    """

    def work(count: int) -> float:
        tables = [(_count_masks(len(bits), t), len(bits)) for bits, t in _divide(radius, count)]
        return sum(n * (1 + rows / 2**width) for n, width in tables)

    counts = range(BITS // 62 + 1, min(BITS, radius + 1) + 1)
    return _divide(radius, min(counts, key=work, default=5))


def _divide(radius: int, count: int) -> list[tuple[np.ndarray, int]]:
    """Divide the bits into `count` bands; bands that may not differ in any bit are left out."""
    least, more = divmod(radius + 1, count)
    flips = [least - (band >= more) for band in range(count)]
    # Neighbouring bits of a PDQ hash are neighbouring frequencies, and agree by chance. So each
    # band takes bits from everywhere.
    return [(np.arange(band, BITS, count), t) for band, t in enumerate(flips) if t >= 0]


def _count_masks(width: int, flips: int) -> int:
    return sum(comb(width, k) for k in range(flips + 1))


@cache
def _masks(width: int, flips: int) -> np.ndarray:
    """All uint64 with at most `flips` bits set among the lowest `width`."""
    chosen = (c for k in range(flips + 1) for c in combinations(range(width), k))
    return np.array([sum(1 << bit for bit in c) for c in chosen], np.uint64)


def _keys(hashes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The given bits of each hash as one unsigned integer (n,), of the smallest type that fits.

    Small integers sort faster.
    """
    dtype = np.min_scalar_type((1 << len(bits)) - 1)
    keys = np.zeros(len(hashes), dtype)
    for position, bit in enumerate(bits):
        keys |= ((hashes[:, bit // 8] >> (7 - bit % 8)) & 1).astype(dtype) << dtype.type(position)
    return keys
