"""Compare two images pixel by pixel where a transform lays one over the other.

Local features agree between images that share a logo, a frame or most of a drawing; copies agree
in every pixel. A transform is not exact, and at an edge a small shift makes a large difference. So
a pixel may have any value that the other image has within a pixel of its place (of 64 a side), and
the other way round. What lies beyond is averaged over 3 x 3 pixels, and the largest mean counts.
"""

from typing import NamedTuple

import numpy as np

from pipelines.duplicates.images.copies import GAINS, GREY, LUMA, brightness, colour, smooth
from pipelines.duplicates.images.similarity_transforms import Transform
from store.tables.signals import VIEW

_LEAST_OVERLAP = 0.4  # of one of the images; 30% off both sides of a copy leaves 0.49
_LEAST_PIXELS = 64  # that are compared, of 4,096
_LEAST_DETAIL = 0.8  # of one of the images; detail is how much neighbouring pixels differ
_GREYED = 3.0  # times that a difference of grey values counts, since colours say nothing


class View(NamedTuple):
    """An image as it is compared.

    Attributes:
        pixels: (64, 64, 3) uint8, whatever the aspect ratio.
        width, height: of the measured image, to which transforms apply, in its pixels.
    """

    pixels: np.ndarray
    width: int
    height: int


def similarity(one: View, other: View, transform: Transform) -> float:
    """1 - the largest difference of the images where they overlap, as a share of white.

    The brightness of one is fitted to the other's. If only one has colours, grey values are
    compared, and differences count three times.

    Args:
        transform: moves points of `one` to `other`.

    Returns:
        0 to 1; 0 if they overlap by less than 0.4 of both, or if less than 0.8 of the detail of
        both is there: any two images agree in a piece of white paper.
    """
    u, v = places(one, other, transform)
    overlap = (u >= -0.5) & (u <= VIEW - 0.5) & (v >= -0.5) & (v <= VIEW - 0.5)
    # The area of `other` as a share of that of `one`.
    area = other.width * other.height / (one.width * one.height * abs(transform.p) ** 2)
    inside = eroded(overlap)
    if overlap.mean() * max(1.0, area) < _LEAST_OVERLAP or inside.sum() < _LEAST_PIXELS:
        return 0.0
    a, b = one.pixels.astype(np.float32), other.pixels.astype(np.float32)
    as_b, weight = sampled(a, u, v), 1.0
    grey_a, grey_b = as_b @ LUMA, b @ LUMA
    both = np.stack([as_b[inside], b[inside]]), np.stack([grey_a[inside], grey_b[inside]])
    if len(set(colour(*both) >= GREY)) == 2:
        a, b = (np.repeat((x @ LUMA)[..., None], 3, axis=-1) for x in (a, b))
        as_b, weight = sampled(a, u, v), _GREYED
    (low_a, high_a), (low_b, high_b) = _extremes(a), _extremes(b)
    low, high = sampled(low_a, u, v), sampled(high_a, u, v)
    detail_a = area * (high - low)[inside].sum() / max((high_a - low_a).sum(), 1)
    detail_b = (high_b - low_b)[inside].sum() / max((high_b - low_b).sum(), 1)
    if max(detail_a, detail_b) < _LEAST_DETAIL:
        return 0.0
    gain, offset = (
        float(x[0]) for x in brightness(*(x[inside][None, None] for x in (grey_a, grey_b)))
    )
    changes = [(1.0, 0.0), (gain, offset)] if GAINS[0] <= gain <= GAINS[1] else [(1.0, 0.0)]
    worst = 255.0
    for gain, offset in changes:
        lowest, highest, fitted = (np.clip(gain * x + offset, 0, 255) for x in (low, high, as_b))
        beyond = np.maximum(np.maximum(b - highest, lowest - b), 0)
        beyond = np.maximum(beyond, np.maximum(fitted - high_b, low_b - fitted))
        worst = min(worst, float(smooth((beyond * inside[..., None])[None]).max()))
    return max(0.0, 1 - weight * worst / 255)


def places(one: View, other: View, t: Transform) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of `other` are in `one`: column and row of its view, (64, 64) each."""
    centre = (np.arange(VIEW) + 0.5) / VIEW
    z = (centre * other.width + 1j * centre[:, None] * other.height - t.q) / t.p
    return z.real / one.width * VIEW - 0.5, z.imag / one.height * VIEW - 0.5


def sampled(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear samples of an image (y, x, c) at columns u and rows v."""
    u, v = (np.clip(x, 0, VIEW - 1.001) for x in (u, v))
    column, row = u.astype(np.int64), v.astype(np.int64)
    right, down = (
        (u - column)[..., None].astype(np.float32),
        (v - row)[..., None].astype(np.float32),
    )
    upper = image[row, column] * (1 - right) + image[row, column + 1] * right
    lower = image[row + 1, column] * (1 - right) + image[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down


def _extremes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest values within a pixel, of an image (y, x, c)."""
    near = _neighbours(image)
    return near.min(axis=0), near.max(axis=0)


def eroded(mask: np.ndarray) -> np.ndarray:
    """A mask (y, x) without the pixels at its border; the border of the image is none."""
    return _neighbours(mask).min(axis=0)


def _neighbours(image: np.ndarray) -> np.ndarray:
    """The image shifted by up to a pixel each way, (9, ...)."""
    padding = [(1, 1), (1, 1)] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, padding, "edge")
    height, width = image.shape[:2]
    return np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
