"""Compare two images pixel by pixel where a transform lays one over the other.

Local features agree between images that share a logo, a frame or most of a drawing; copies agree
in every pixel. A transform is not exact, and at an edge a small shift makes a large difference. So
a pixel may have any value that the other image has within a pixel of its place (of 64 a side), and
the other way round. What lies beyond is averaged over 3 x 3 pixels, and the largest mean counts.
Pixels at a border of either image are not compared: they may show what is beyond it.
"""

from typing import NamedTuple

import numpy as np

from pipelines.duplicates.images.copies import GAINS, GREY, LUMA, brightness, colour, smooth
from pipelines.duplicates.images.similarity_transforms import Transform
from store.tables.signals import VIEW

_LEAST_OVERLAP = 0.4  # of one of the images; 30% off both sides of a copy leaves 0.49
_LEAST_PIXELS = 64  # that are compared, of 4,096
_LEAST_DETAIL = 0.8  # of one of the images; detail is how much neighbouring pixels differ
_COARSER = 1.5  # times as large a pixel is a mean of several
_WITHIN = 0.25, 0.75  # of a pixel: the points that its mean is taken over, on each axis
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


def coarser_last(one: View, other: View, transform: Transform) -> tuple[View, View, Transform]:
    """Two images and the transform from the first to the second, whose pixels are the larger ones.

    Args:
        transform: moves points of `one` to `other`.
    """
    if _coarseness(one, other, transform) >= 1:
        return one, other, transform
    return other, one, transform.inverse()


def similarity(one: View, other: View, transform: Transform) -> float:
    """1 - the largest difference of the images where they overlap, as a share of white.

    The brightness of one is fitted to the other's. If only one has colours, grey values are
    compared, and differences count three times.

    Args:
        one, other, transform: as `coarser_last` returns them.

    Returns:
        0 to 1; 0 if they overlap by less than 0.4 of both, or if less than 0.8 of the detail of
        both is there: any two images agree in a piece of white paper.
    """
    u, v = places(one, other, transform)
    overlap = _is_within(u, v)
    area = _coarseness(one, other, transform)
    inside = eroded(overlap)
    if overlap.mean() * max(1.0, area) < _LEAST_OVERLAP or inside.sum() < _LEAST_PIXELS:
        return 0.0
    a, b = one.pixels.astype(np.float32), other.pixels.astype(np.float32)
    in_one = _is_within(*places(other, one, transform.inverse()))
    if max(_shared_detail(a, in_one), _shared_detail(b, overlap)) < _LEAST_DETAIL:
        return 0.0
    as_b, weight = _averaged(a, one, other, transform), 1.0
    grey_a, grey_b = as_b @ LUMA, b @ LUMA
    both = np.stack([as_b[inside], b[inside]]), np.stack([grey_a[inside], grey_b[inside]])
    if len(set(colour(*both) >= GREY)) == 2:
        as_b, b = (np.repeat(grey[..., None], 3, axis=-1) for grey in (grey_a, grey_b))
        weight = _GREYED
    (low, high), (low_b, high_b) = _extremes(as_b), _extremes(b)
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


def _coarseness(one: View, other: View, t: Transform) -> float:
    """The area of `other`, and of a pixel of its view, as a share of that of `one`."""
    return other.width * other.height / (one.width * one.height * abs(t.p) ** 2)


def _is_within(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether columns u and rows v are in a view."""
    return (u >= -0.5) & (u <= VIEW - 0.5) & (v >= -0.5) & (v <= VIEW - 0.5)


def _shared_detail(image: np.ndarray, overlap: np.ndarray) -> float:
    """The share of an image's detail that is where another image overlaps it.

    An edge along the border of the overlap counts on neither side: a turned picture has one
    between its own pixels and what fills the corners.
    """
    low, high = _extremes(image)
    detail = (high - low).sum(axis=-1)
    apart = eroded(eroded(~overlap, True), True)
    inside, outside = detail[eroded(overlap)].sum(), detail[apart].sum()
    return float(inside / max(inside + outside, 1))


def places(
    one: View, other: View, t: Transform, right: float = 0.5, down: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Where points of the pixels of `other` are in `one`: columns and rows of its view, (64, 64).

    Args:
        right, down: of the points in their pixels, 0 to 1.
    """
    x, y = ((np.arange(VIEW) + part) / VIEW for part in (right, down))
    z = (x * other.width + 1j * y[:, None] * other.height - t.q) / t.p
    return z.real / one.width * VIEW - 0.5, z.imag / one.height * VIEW - 0.5


def _averaged(image: np.ndarray, one: View, other: View, t: Transform) -> np.ndarray:
    """An image (y, x, c), pixels of `one`, at the pixels of `other`.

    Means are taken where these are much larger. Elsewhere a mean would only blur.
    """
    parts = _WITHIN if _coarseness(one, other, t) > _COARSER else (0.5,)
    samples = [
        sampled(image, *places(one, other, t, right, down)) for down in parts for right in parts
    ]
    return np.mean(samples, axis=0)


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


def eroded(mask: np.ndarray, beyond: bool = False) -> np.ndarray:
    """A mask (y, x) without the pixels at its border.

    Args:
        beyond: the mask outside the image. With False, its border is a border of the mask.
    """
    return _neighbours(np.pad(mask, 1, constant_values=beyond)).min(axis=0)[1:-1, 1:-1]


def _neighbours(image: np.ndarray) -> np.ndarray:
    """The image shifted by up to a pixel each way, (9, ...)."""
    padding = [(1, 1), (1, 1)] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, padding, "edge")
    height, width = image.shape[:2]
    return np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
