"""Find all pairs of 256-bit hashes within a Hamming distance, without missing any.

The bits are divided into bands. By the general pigeonhole principle (Qin et al. 2018, "GPH:
Similarity Search in Hamming Space"), if the radii t of the bands satisfy sum(t + 1) = r + 1, a pair
within distance r is within t in at least one band. So each new hash is listed in each band under
its value and under all values with up to t bits flipped. Every hash looks up its own value there,
and the distance of the matches is measured on all bits.

Memory is bounded: the hashes can be in a file (`pipelines.engine.array_files`). The number of bands
is the one with the least estimated work. The number of candidates grows with the square of the
rows, divided by 2^width of a band.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from math import comb

import numpy as np

from pipelines.duplicates.pair_joins import PROBES, Block, Rows, sorted_join
from pipelines.engine.array_files import ArrayFile

BITS = 256
_ENTRIES = 1 << 22  # of the table of a band
_COMPARED = 1 << 17  # pairs at a time


def within(hashes: Rows, radius: int, first: int = 0) -> Iterator[Block]:
    """Find the pairs of hashes within `radius` bits.

    Args:
        hashes: (n, 32) uint8, distinct or not.
        radius: in bits; PDQ's authors use 31 for the same image.
        first: pairs of two rows before it are left out.

    Returns:
        Blocks of a row, an earlier one and 1 - distance / 256, (k,) each. A pair may come several
        times.
    """
    for y, x, similarity in _near(hashes, hashes, radius, first):
        once = x < y
        yield y[once], x[once], similarity[once]


def between(hashes: Rows, others: Rows, radius: int, first: int = 0) -> Iterator[Block]:
    """Find the pairs between two arrays of hashes within `radius` bits.

    Args:
        hashes, others: (n, 32) uint8 each.
        radius: in bits.
        first: pairs of two rows before it are left out.

    Returns:
        Blocks of rows of `hashes`, rows of `others` and 1 - distance / 256, (k,) each. A pair may
        come several times, and a row may be paired with itself.
    """
    yield from _near(hashes, others, radius, first, len(hashes))
    for y, x, similarity in _near(others, hashes, radius, first, first):
        yield x, y, similarity


def _near(
    new: Rows, others: Rows, radius: int, first: int, stop: int | None = None
) -> Iterator[Block]:
    """Rows of `new` and of `others` that are within the radius, and their similarity.

    Args:
        first: rows of `new` before it are not listed.
        stop: rows of `others` from it on are not looked up. None if both are the same array: pairs
            whose row of `others` is the later one may then be left out.
    """
    for bits, flips in bands(radius, len(new)):
        keys = _keys(new, bits)
        probes = keys if others is new else _keys(others, bits)
        masks = _masks(len(bits), flips).astype(keys.dtype)
        step = max(1, _ENTRIES // len(masks))
        for start in range(first, len(new), step):
            block = new[start : start + step]
            table = (keys[start : start + step][:, None] ^ masks).ravel()
            order = np.argsort(table)
            ordered = table[order]
            last = min(start + step, len(new)) if stop is None else stop
            for begin in range(0, last, PROBES):
                end = min(begin + PROBES, last)
                other = others[begin:end]
                for entry, y in sorted_join(order, ordered, probes[begin:end]):
                    x = entry // len(masks)
                    near, similarity = _verified(block, other, x, y, radius)
                    yield start + x[near], begin + y[near], similarity


def _verified(
    hashes: np.ndarray, others: np.ndarray, x: np.ndarray, y: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs of rows are within the radius, (k,) bool, and the similarity of these."""
    one, other = (np.ascontiguousarray(h).view(np.uint64) for h in (hashes, others))
    distance = np.empty(len(x), np.int32)
    for start in range(0, len(x), _COMPARED):
        block = slice(start, start + _COMPARED)
        distance[block] = np.bitwise_count(one[x[block]] ^ other[y[block]]).sum(axis=1)
    near = distance <= radius
    return near, 1 - distance[near] / BITS


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


def _keys(hashes: Rows, bits: np.ndarray) -> Rows:
    """The given bits of each hash as one unsigned integer (n,), of the smallest type that fits.

    Small integers sort faster. The keys of hashes in a file are in a file too.
    """
    dtype = np.min_scalar_type((1 << len(bits)) - 1)
    out = (
        hashes.beside("keys", dtype)
        if isinstance(hashes, ArrayFile)
        else np.empty(len(hashes), dtype)
    )
    for start in range(0, len(hashes), PROBES):
        block = hashes[start : start + PROBES]
        keys = np.zeros(len(block), dtype)
        for position, bit in enumerate(bits):
            value = (block[:, bit // 8] >> (7 - bit % 8)) & 1
            keys |= value.astype(dtype) << dtype.type(position)
        out[start : start + len(block)] = keys
    return out
