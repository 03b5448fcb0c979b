"""Hashes of an image and of its crops, and a small copy of it, by which copies are found.

The hash is that of PDQ (Meta 2019): 256 bits, each of which says whether a coefficient of a cosine
transform of 64 x 64 grey pixels is above a bound. Two things differ from PDQ, so that copies of
drawings agree as well as copies of photographs:

- The image is reduced with an antialiasing filter, so that a copy at half the size has the same
  hash.
- The bound is the median plus a tenth of the mean absolute coefficient. In a symmetric image half
  of the coefficients are zero; if the bound were the median, noise would decide their bits.

A crop of an image has another hash. So the likely crops of every image are hashed beforehand: 5%
off either end of a side, or 2.5% off both ends, for width and height in all combinations. There are
15 crops.
"""

import numpy as np
from PIL import Image

from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from store.tables.signals import SCORERS

LOOK = 32  # pixels of a side of `image_look`
# The part of a side that a crop keeps, from and to. Crop 4 * y + x keeps INTERVALS[y] of the
# height and INTERVALS[x] of the width; crop 0 is the whole image.
INTERVALS = ((0.0, 1.0), (0.0, 0.95), (0.025, 0.975), (0.05, 1.0))
CROPS = len(INTERVALS) ** 2
_SIDE, _PIXELS, _FREQUENCIES = 128, 64, 16
_ABOVE_MEDIAN = 0.1  # of the mean absolute coefficient


def score(image: DecodedImage) -> Values:
    """`image_copies`: 16 hashes of 32 bytes each, that of the whole image first.
    `image_look`: 32 x 32 RGB pixels, whatever the aspect ratio."""
    grey = image.rgb.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    look = image.rgb.resize((LOOK, LOOK), Image.Resampling.BILINEAR)
    return {"image_copies": hashes(np.asarray(grey)).tobytes(), "image_look": look.tobytes()}


def hashes(grey: np.ndarray) -> np.ndarray:
    """The hashes of an image and of its crops.

    Args:
        grey: uint8 (128, 128).

    Returns:
        Uint8 (16, 32): 256 bits for each crop.
    """
    transformed = _TRANSFORM @ grey.astype(np.float32) @ _TRANSFORM.T
    sides = len(INTERVALS), _FREQUENCIES
    coefficients = transformed.reshape(*sides, *sides).transpose(0, 2, 1, 3).reshape(CROPS, -1)
    margin = _ABOVE_MEDIAN * np.abs(coefficients).mean(axis=1)
    bound = np.median(coefficients, axis=1) + margin
    return np.packbits(coefficients > bound[:, None], axis=1)


def reduction(low: float, high: float, pixels: int, to: int) -> np.ndarray:
    """The matrix that crops one side of an image and reduces it, with a triangle filter.

    Args:
        low, high: the part of the side that is kept, 0 to 1.
        pixels: of the side before.
        to: pixels of the side after.

    Returns:
        Float32 (to, pixels). A row's triangle extends one new pixel to either side of its centre.
    """
    width = (high - low) * pixels / to
    centre = low * pixels + (np.arange(to) + 0.5) * width
    distance = np.abs(np.arange(pixels) + 0.5 - centre[:, None])
    weights = np.clip(1 - distance / max(1.0, width), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _transform() -> np.ndarray:
    """(4 * 16, 128): for each interval, its lowest frequencies without the constant."""
    wave = np.outer(np.arange(1, _FREQUENCIES + 1), 2 * np.arange(_PIXELS) + 1)
    cosines = np.sqrt(2 / _PIXELS) * np.cos(np.pi / 2 / _PIXELS * wave)
    parts = [cosines @ reduction(*interval, _SIDE, _PIXELS) for interval in INTERVALS]
    return np.concatenate(parts).astype(np.float32)


_TRANSFORM = _transform()
COPIES = ImageScorer("image_copies", SCORERS["image_copies"].names, ("image_id", "image"), score)
