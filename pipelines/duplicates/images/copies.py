"""Find near-duplicate images: near hashes of the image or of a crop, verified on thumbnails.

A hash ignores colours and most details. So candidates are compared as thumbnails: one image is
cropped as its hash was, its brightness is fitted to the other's, and the two are subtracted at
24 x 24 pixels. An image without colours is compared with the grey values of a coloured one.
"""

from collections.abc import Callable, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates.images import hamming
from pipelines.duplicates.pair_joins import Block, Rows, buffered
from pipelines.engine.duckdb_scratch import execute
from pipelines.engine.ray_tasks import streams_in_order
from pipelines.engine.shared_rows import share
from pipelines.signals.scorers.image_copies import CROPS, INTERVALS, LOOK, reduction

# The largest difference of copies, of 255, over means of 3 x 3 pixels. Copies with the same size,
# brightness and colours differ least. A cropped copy may be shifted by half a pixel, and a
# brightened one has lost its light tones.
_SAME, _GREYED, _CHANGED = 20.0, 16.0, 40.0
_SAME_GAIN, _SAME_OFFSET = 0.05, 6.0  # a change of brightness smaller than this is none
_SIDE = 24
_PAIRS, _VERIFIED = 1024, 8192  # pairs that are compared at a time, and by a task
GREY = 1.5  # mean distance of the channels from grey, of 255, below which there is no colour
_DARK, _LIGHT = 7, 248  # grey values beyond these may be clipped, and say nothing of brightness
GAINS = 0.5, 2.0  # of a plausible change of brightness
_LEAST_PIXELS = 20  # that a change of brightness is fitted on
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_CANDIDATES = """
CREATE OR REPLACE TEMP TABLE candidates
(number BIGINT, x BIGINT, y BIGINT, similarity FLOAT, crop BIGINT)
"""
# Of a pair that is near by several crops, only the nearest is verified.
_NEAREST = """
SELECT x, y, similarity, crop FROM candidates
QUALIFY row_number() OVER (
  PARTITION BY least(x, y), greatest(x, y) ORDER BY similarity DESC, crop, number
) = 1
ORDER BY least(x, y), greatest(x, y)
"""
Thumbnails = Callable[[np.ndarray], np.ndarray]  # indices (k,) -> (k, 32, 32, 3) uint8


def near_blocks(
    connection: duckdb.DuckDBPyConnection,
    hashes: Sequence[Rows],
    thumbnails: Thumbnails,
    radius: int,
    first: int = 0,
    *,
    on_ray: bool = False,
) -> Iterator[Block]:
    """Find the pairs of images of which one is a copy of the other, or of a crop of it.

    Args:
        connection: to a database, for a temporary table of candidates.
        hashes: of each crop (n, 32) uint8, as in the signal `image_copies`; the whole image first.
        thumbnails: reads the signal `image_look` of some images; picklable if tasks run on Ray.
        radius: the largest distance of hashes of the whole image, in bits; for those of crops
            three quarters of it, since these are hashed exactly.
        first: pairs of two images before it are left out.
        on_ray: compare by Ray tasks; else in this process.

    Returns:
        Blocks of pairs with the similarity 1 - distance / 256 of the nearest hashes. A pair comes
        once.
    """
    connection.execute(_CANDIDATES)
    number = 0
    arrays = [share(array, on_ray) for array in hashes]
    tasks = _comparisons(len(arrays[0]), radius, first)
    for columns in streams_in_order(_candidates, arrays, tasks, on_ray=on_ray):
        numbers = number + np.arange(len(columns[0]))
        number += len(numbers)
        block = pa.table([numbers, *columns], ["number", "x", "y", "similarity", "crop"])
        execute(connection, "INSERT INTO candidates FROM stream", stream=block.to_reader())
    nearest = connection.sql(_NEAREST).to_arrow_reader(_VERIFIED)
    yield from streams_in_order(_copies, thumbnails, nearest, on_ray=on_ray)


def _comparisons(rows: int, radius: int, first: int) -> Iterator[tuple[int, hamming.Listing]]:
    """The comparisons of hashes of the whole images with each other and with those of crops."""
    for listing in hamming.within(rows, radius, first):
        yield radius, listing
    radius = radius * 3 // 4
    for crop in range(1, CROPS):
        for listing in hamming.between(rows, radius, first, 0, crop):
            yield radius, listing


def _candidates(
    hashes: Sequence[Rows], comparison: tuple[int, hamming.Listing]
) -> Iterator[tuple[np.ndarray, ...]]:
    """Images x and y, how near a crop of x is to y, and the number of the crop."""
    radius, task = comparison
    crop = max(task.listed, task.others)

    def blocks() -> Iterator[tuple[np.ndarray, ...]]:
        for one, other, similarity in hamming.look_up(hashes, radius, task):
            x, y = (other, one) if task.listed == 0 else (one, other)
            differ = x != y
            crops = np.full(differ.sum(), crop)
            yield x[differ], y[differ], similarity[differ], crops

    return buffered(blocks())


def _copies(thumbnails: Thumbnails, candidates: pa.RecordBatch) -> Iterator[Block]:
    """The candidates of which both thumbnails show the same image."""
    for start in range(0, candidates.num_rows, _PAIRS):
        batch = candidates.slice(start, _PAIRS)
        x, y, similarity, crop = (column.to_numpy() for column in batch.columns)
        same = are_copies(thumbnails(x), crop, thumbnails(y))
        yield x[same], y[same], similarity[same]


def are_copies(whole: np.ndarray, crop: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Whether thumbnails show the same image.

    Args:
        whole, copy: (k, 32, 32, 3) uint8.
        crop: (k,) the number of the crop of `whole` that `copy` may be; 0 is the whole image.

    Returns:
        (k,) bool.
    """
    down, across = _REDUCTIONS[crop // len(INTERVALS)], _REDUCTIONS[crop % len(INTERVALS)]
    a = np.einsum("kyv,kvhc,kxh->kyxc", down, whole.astype(np.float32), across, optimize=True)
    b = np.einsum("yv,kvhc,xh->kyxc", _WHOLE, copy.astype(np.float32), _WHOLE, optimize=True)
    grey_a, grey_b = a @ LUMA, b @ LUMA
    no_colour = [colour(a, grey_a) < GREY, colour(b, grey_b) < GREY]
    one_is_grey = no_colour[0] != no_colour[1]
    a, b = (
        np.where(one_is_grey[:, None, None, None], grey[..., None], image)
        for grey, image in ((grey_a, a), (grey_b, b))
    )
    limit = np.where(crop > 0, _CHANGED, np.where(one_is_grey, _GREYED, _SAME))
    as_is = _worst(b - a) <= limit
    gain, offset = brightness(grey_a, grey_b)
    is_changed = (np.abs(gain - 1) > _SAME_GAIN) | (np.abs(offset) > _SAME_OFFSET)
    is_plausible = (gain >= GAINS[0]) & (gain <= GAINS[1]) & ~one_is_grey
    adjusted = np.clip(gain[:, None, None, None] * a + offset[:, None, None, None], 0, 255)
    as_adjusted = _worst(b - adjusted) <= np.where(is_changed, _CHANGED, limit)
    return as_is | (is_plausible & as_adjusted)


def _worst(difference: np.ndarray) -> np.ndarray:
    """The largest smoothed difference (k,) of images (k, y, x, c)."""
    return np.abs(smooth(difference)).max(axis=(1, 2, 3))


def colour(image: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """The mean distance of channels from grey, (k,), of images (k, ..., c)."""
    return np.abs(image - grey[..., None]).mean(axis=tuple(range(1, image.ndim)))


def brightness(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit b = gain * a + offset by least squares, for grey images (k, y, x).

    Returns:
        Gain and offset, (k,) each.
    """
    inside = (np.minimum(a, b) > _DARK) & (np.maximum(a, b) < _LIGHT)
    inside |= inside.sum(axis=(1, 2), keepdims=True) < _LEAST_PIXELS
    count = inside.sum(axis=(1, 2))
    mean_a, mean_b = ((v * inside).sum(axis=(1, 2)) / count for v in (a, b))
    centred = (a - mean_a[:, None, None]) * inside
    gain = (centred * b).sum(axis=(1, 2)) / ((centred * centred).sum(axis=(1, 2)) + 1e-9)
    return gain, mean_b - gain * mean_a


def smooth(images: np.ndarray) -> np.ndarray:
    """Means of 3 x 3 pixels of images (k, y, x, c)."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    down = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (down[:, :, :-2] + down[:, :, 1:-1] + down[:, :, 2:]) / 9


_REDUCTIONS = np.stack([reduction(*interval, LOOK, _SIDE) for interval in INTERVALS])
_WHOLE = _REDUCTIONS[0]
