"""Find the keys of local features that too many images have to say anything.

Images are read in blocks. By the pigeonhole principle, a key that more than 256 images have is in
more than 256 / n of one of n blocks. So a first pass lists the keys that are frequent in a block,
few in each, and a second one counts them in all.
"""

from collections.abc import Callable, Iterator

import numpy as np

from pipelines.engine.ray_tasks import results_in_order
from store.arrays import lookup
from store.tables.signals import KEYPOINTS

BANDS, _BAND_BYTES = 4, 4
_CROWD = 256  # images with a key that is ignored
_BLOCK = 16_384  # images that a task reads: 50 MB of keys
_READ = 4096  # records that are read at a time

# indices (k,) -> (k,) records of FEATURES, the signal `image_keypoints`
Features = Callable[[np.ndarray], np.ndarray]


def crowded_keys(features: Features, count: int, *, on_ray: bool = False) -> list[np.ndarray]:
    """The keys that more than 256 images have.

    Args:
        features: reads the local features of some images; picklable if tasks run on Ray.
        count: of all images.
        on_ray: read them by Ray tasks; else in this process.

    Returns:
        For each band (k,) uint32, ascending.
    """
    starts = range(0, count, _BLOCK)
    blocks = [(start, min(start + _BLOCK, count)) for start in starts]
    least = _CROWD // max(1, len(blocks))
    listed = list(results_in_order(_frequent, (features, least), blocks, on_ray=on_ray))
    likely = [
        np.unique(np.concatenate([np.empty(0, np.uint32), *(block[band] for block in listed)]))
        for band in range(BANDS)
    ]
    if len(blocks) < 2:
        return likely
    totals = [np.zeros(len(keys), np.int64) for keys in likely]
    for counts in results_in_order(_counted, (features, likely), blocks, on_ray=on_ray):
        for total, of_block in zip(totals, counts, strict=True):
            total += of_block
    return [keys[total > _CROWD] for keys, total in zip(likely, totals, strict=True)]


def band_keys(keypoints: np.ndarray, band: int) -> np.ndarray:
    """The keys of keypoints (k,) in a band, (k,) uint32."""
    bits = keypoints["bits"][:, band * _BAND_BYTES : (band + 1) * _BAND_BYTES]
    return np.ascontiguousarray(bits).view("<u4")[:, 0]


def filled(records: np.ndarray) -> np.ndarray:
    """The keypoints of records of `FEATURES`, one after the other."""
    return records["keypoints"][np.arange(KEYPOINTS) < records["count"][:, None]]


def in_blocks(features: Features, start: int, stop: int) -> Iterator[np.ndarray]:
    """The records of the images from `start` to `stop`."""
    for first in range(start, stop, _READ):
        yield features(np.arange(first, min(first + _READ, stop)))


def _frequent(shared: tuple[Features, int], block: tuple[int, int]) -> list[np.ndarray]:
    """The keys of each band that more than some images of a block have."""
    features, least = shared
    return [keys[count > least] for keys, count in _images_by_key(features, block)]


def _counted(shared: tuple[Features, list[np.ndarray]], block: tuple[int, int]) -> list[np.ndarray]:
    """How many images of a block have each of the given keys of a band."""
    features, likely = shared
    return [
        np.append(count, 0)[lookup(keys, wanted)]  # the last one: no image of the block has it
        for wanted, (keys, count) in zip(likely, _images_by_key(features, block), strict=True)
    ]


def _images_by_key(
    features: Features, block: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The distinct keys of a block in each band, ascending, and how many images have them."""
    parts: list[list[np.ndarray]] = [[] for _ in range(BANDS)]
    counts = []
    for records in in_blocks(features, *block):
        keypoints = filled(records)
        counts.append(records["count"].astype(np.int64))
        for band, part in enumerate(parts):
            part.append(band_keys(keypoints, band))
    count = np.concatenate(counts)
    node = np.repeat(np.arange(len(count), dtype=np.uint64), count)
    out = []
    for part in parts:
        # A key and an image in one number: those of an image count once.
        both = np.sort(np.concatenate(part).astype(np.uint64) << np.uint64(32) | node)
        key = (both[_is_first(both)] >> np.uint64(32)).astype(np.uint32)
        start = np.flatnonzero(_is_first(key))
        out.append((key[start], np.diff(np.append(start, len(key)))))
    return out


def _is_first(ascending: np.ndarray) -> np.ndarray:
    """Which values differ from the one before. (A sort is faster than np.unique's table here.)"""
    return np.append(True, ascending[1:] != ascending[:-1])[: len(ascending)]
