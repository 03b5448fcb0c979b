"""All pairs of 256-bit hashes within a Hamming distance: nothing within the radius is missed.

The bits are dealt out to bands. By the pigeonhole principle in its general form (Qin et al. 2018,
"GPH: Similarity Search in Hamming Space") a pair within radius r is near in at least one of m
bands: where the bands' radii t satisfy sum(t + 1) = r + 1, the distance is at most t in one of
them. So a new hash is listed in each band by its value and by all values within t flipped bits,
every hash looks its value up there, and what meets is measured in full.

Memory is bounded but for the hashes, 32 bytes each, and the pairs found. The number of bands is
the one with the least work; candidates grow with the square of the rows, divided by 2^width.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from math import comb

import numpy as np

from pipelines.duplicates.pair_joins import Pairs, collect, equal

BITS = 256
Block = tuple[np.ndarray, np.ndarray, np.ndarray]
Blocks = Iterator[Block]
_ENTRIES = 1 << 22  # of a band's table


def pairs(hashes: np.ndarray, radius: int, first: int = 0) -> Pairs:
    """Pairs within `radius` bits, of which at least one is at `first` or after it.

    Args:
        hashes: uint8 (n, 32), distinct rows or not.
        radius: PDQ's authors take 31 for one picture.

    Returns: similarity is 1 - distance / 256.
    """

    def found() -> Blocks:
        for y, x in _meetings(hashes, hashes, radius, first):
            before = x < y
            yield _near(hashes, hashes, radius, x[before], y[before])

    return collect(found(), len(hashes))


def between(hashes: np.ndarray, others: np.ndarray, radius: int, first: int = 0) -> Blocks:
    """Rows x of `hashes` and y of `others` within `radius` bits, x or y at `first` or after it, and
    1 - distance / 256, in blocks; a pair may come several times, and a row with itself.

    Args:
        hashes, others: uint8 (n, 32) each.
    """
    for x, y in _meetings(hashes, others, radius, first, len(hashes)):
        yield _near(hashes, others, radius, x, y)
    for y, x in _meetings(others, hashes, radius, first, first):
        yield _near(hashes, others, radius, x, y)


def _near(
    hashes: np.ndarray, others: np.ndarray, radius: int, x: np.ndarray, y: np.ndarray
) -> Block:
    words = (np.ascontiguousarray(h).view(np.uint64) for h in (hashes[x], others[y]))
    one, other = words
    distance = np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int32)
    here = distance <= radius
    return x[here], y[here], 1 - distance[here] / BITS


def _meetings(
    new: np.ndarray, others: np.ndarray, radius: int, first: int, stop: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `new` at `first` or after it, and of `others` before `stop`, that are near in one of
    the bands. Without `stop` some are left out whose row of `others` is the later one."""
    for places, flips in bands(radius, len(new)):
        keys, probes = _keys(new, places), _keys(others, places)
        masks = _masks(len(places), flips).astype(keys.dtype)
        step = max(1, _ENTRIES // len(masks))
        for start in range(first, len(new), step):
            table = (keys[start : start + step, None] ^ masks).ravel()
            last = start + step if stop is None else stop
            for entry, y in equal(table, probes[:last]):
                yield start + entry // len(masks), y


def bands(radius: int, rows: int) -> list[tuple[np.ndarray, int]]:
    """(places of its bits, bits to flip) of every band, for the least work with so many rows."""

    def work(count: int) -> float:
        probes = [(_count(len(p), t), len(p)) for p, t in _dealt(radius, count)]
        return sum(n * (1 + rows / 2**width) for n, width in probes)

    return _dealt(
        radius, min(range(BITS // 62 + 1, min(BITS, radius + 1) + 1), key=work, default=5)
    )


def _dealt(radius: int, count: int) -> list[tuple[np.ndarray, int]]:
    least, more = divmod(radius + 1, count)
    flips = [least - (band >= more) for band in range(count)]
    # Neighbouring bits are of neighbouring frequencies and agree by chance: each band gets some
    # of all of them.
    return [(np.arange(band, BITS, count), t) for band, t in enumerate(flips) if t >= 0]


def _count(width: int, flips: int) -> int:
    return sum(comb(width, k) for k in range(flips + 1))


@cache
def _masks(width: int, flips: int) -> np.ndarray:
    """All uint64 of at most `flips` bits among the lowest `width`."""
    chosen = (c for k in range(flips + 1) for c in combinations(range(width), k))
    return np.array([sum(1 << bit for bit in c) for c in chosen], np.uint64)


def _keys(hashes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The bits at these places as one number (n,), of as few bytes as hold it: they sort faster."""
    kind = np.min_scalar_type((1 << len(places)) - 1)
    keys = np.zeros(len(hashes), kind)
    for place, bit in enumerate(places):
        keys |= ((hashes[:, bit // 8] >> (7 - bit % 8)) & 1).astype(kind) << kind.type(place)
    return keys
