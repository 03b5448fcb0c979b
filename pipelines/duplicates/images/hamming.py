"""Find all pairs of 256-bit hashes within a Hamming distance, without missing any.

The bits are divided into bands. By the general pigeonhole principle (Qin et al. 2018, "GPH:
Similarity Search in Hamming Space"), if the radii t of the bands satisfy sum(t + 1) = r + 1, a pair
within distance r is within t in at least one band. So each new hash is listed in each band under
its value and under all values with up to t bits flipped. Every hash looks up its own value there,
and the distance of the matches is measured on all bits.

The work is divided by bands and by blocks of the listed hashes: `within` and `between` make the
tasks, `look_up` does one of them. Memory is bounded: the hashes can be in a file or in Ray's object
store. The number of bands is the one with the least estimated work. The number of candidates grows
with the square of the rows, divided by 2^width of a band.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from pipelines.duplicates.pair_joins import PROBES, Block, Rows, sorted_join

BITS = 256
_ENTRIES = 1 << 22  # of the table of a band
_COMPARED = 1 << 17  # pairs at a time
_UNPACKED = 1 << 13  # hashes whose bits are read at a time


class Listing(NamedTuple):
    """A task: some hashes are listed by a band, and others look theirs up.

    Attributes:
        listed, others: the numbers of two arrays of hashes; equal to compare rows of one.
        bits: of the band, int64 numbers from 0 to 255.
        flips: how many of them may differ.
        start, stop: the rows that are listed.
        until: rows of `others` before it are looked up.
    """

    listed: int
    others: int
    bits: np.ndarray
    flips: int
    start: int
    stop: int
    until: int


def within(rows: int, radius: int, first: int = 0, array: int = 0) -> Iterator[Listing]:
    """The tasks that find the pairs of hashes of one array within `radius` bits.

    Args:
        rows: of the array.
        radius: in bits; PDQ's authors use 31 for the same image.
        first: pairs of two rows before it are left out.
        array: the number of the array.
    """
    for listing in _listings(array, array, rows, radius, first):
        yield listing._replace(until=listing.stop)


def between(
    rows: int, radius: int, first: int = 0, array: int = 0, other: int = 1
) -> Iterator[Listing]:
    """The tasks that find the pairs between two arrays of hashes within `radius` bits.

    Args:
        rows: of each array.
        radius: in bits.
        first: pairs of two rows before it are left out.
        array, other: the numbers of the arrays.
    """
    yield from _listings(array, other, rows, radius, first)
    if first:
        for listing in _listings(other, array, rows, radius, first):
            yield listing._replace(until=first)


def look_up(arrays: Sequence[Rows], radius: int, task: Listing) -> Iterator[Block]:
    """Find pairs of near hashes.

    Args:
        arrays: of hashes, (n, 32) uint8 each.
        radius: in bits.
        task: what is compared.

    Yields:
        Blocks of rows of the array `task.listed`, rows of `task.others` and 1 - distance / 256,
        (k,) each. Rows of one array come once, the later row first. A pair may come several times.
    """
    listed, others = arrays[task.listed], arrays[task.others]
    block = listed[task.start : task.stop]
    masks = _masks(len(task.bits), task.flips)
    keys = _keys(block, task.bits)
    table = (keys[:, None] ^ masks.astype(keys.dtype)).ravel()
    order = np.argsort(table)
    ordered = table[order]
    for begin in range(0, task.until, PROBES):
        other = others[begin : min(begin + PROBES, task.until)]
        for entry, y in sorted_join(order, ordered, _keys(other, task.bits)):
            x = entry // len(masks)
            if task.listed == task.others:
                once = begin + y < task.start + x
                x, y = x[once], y[once]
            near, similarity = _verified(block, other, x, y, radius)
            yield task.start + x[near], begin + y[near], similarity


def _listings(listed: int, others: int, rows: int, radius: int, first: int) -> Iterator[Listing]:
    for bits, flips in bands(radius, rows):
        step = max(1, _ENTRIES // _count_masks(len(bits), flips))
        for start in range(first, rows, step):
            stop = min(start + step, rows)
            yield Listing(listed, others, bits, flips, start, stop, rows)


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


def _keys(hashes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The given bits of each hash as one unsigned integer (n,), of the smallest type that fits.

    Small integers sort faster.
    """
    dtype = np.min_scalar_type((1 << len(bits)) - 1).newbyteorder("<")
    out = np.empty(len(hashes), dtype)
    for start in range(0, len(hashes), _UNPACKED):
        chosen = np.unpackbits(hashes[start : start + _UNPACKED], axis=1)[:, bits]
        value = np.zeros((len(chosen), dtype.itemsize), np.uint8)
        packed = np.packbits(chosen, axis=1, bitorder="little")
        value[:, : packed.shape[1]] = packed
        out[start : start + len(chosen)] = value.view(dtype)[:, 0]
    return out
