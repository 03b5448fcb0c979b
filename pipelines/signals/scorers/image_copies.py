"""What copies of a picture are known by: hashes of it and of its crops, and a small look at it.

The hash is PDQ's (Meta 2019): 256 coefficients of a cosine transform of 64 x 64 greys, each told to
be above a bound or not. Two things differ, so that copies of drawings agree as those of photographs
do. The picture is reduced with an antialiasing filter, which makes half of it look like the whole;
and the bound lies a tenth of the mean coefficient above the median, since half of the coefficients
of what is symmetric are zero, and noise would throw the dice for them.

A picture that was cropped has another hash. So its crops are hashed before anybody makes them: 5%
off either end of either side, or 2.5% off both, and all of these together, 15 in all.
"""

import numpy as np
from PIL import Image

from pipelines.signals.scorer import Picture, PictureScorer, Values

LOOK = 32  # pixels
# What is left of a side, from and to; crop 4 * y + x keeps INTERVALS[y] of the height.
INTERVALS = ((0.0, 1.0), (0.0, 0.95), (0.025, 0.975), (0.05, 1.0))
CROPS = len(INTERVALS) ** 2
_SIDE, _PIXELS, _FREQUENCIES = 128, 64, 16
_ABOVE = 0.1


def score(picture: Picture) -> Values:
    """`image_copies`: 16 hashes of 32 bytes, the whole picture's first.
    `image_look`: 32 x 32 pixels of red, green and blue, whatever the aspect."""
    grey = picture.rgb.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    look = picture.rgb.resize((LOOK, LOOK), Image.Resampling.BILINEAR)
    return {"image_copies": hashes(np.asarray(grey)).tobytes(), "image_look": look.tobytes()}


def hashes(grey: np.ndarray) -> np.ndarray:
    """Uint8 (16, 32) of greys (128, 128)."""
    both = _TRANSFORM @ grey.astype(np.float32) @ _TRANSFORM.T
    sides = len(INTERVALS), _FREQUENCIES
    coefficients = both.reshape(*sides, *sides).transpose(0, 2, 1, 3).reshape(CROPS, -1)
    bound = np.median(coefficients, axis=1) + _ABOVE * np.abs(coefficients).mean(axis=1)
    return np.packbits(coefficients > bound[:, None], axis=1)


def reduction(low: float, high: float, pixels: int, to: int) -> np.ndarray:
    """(to, pixels) float32: the part of a side from `low` to `high`, 0 to 1, in so many pixels, by
    a triangle as wide as what it stands for."""
    width = (high - low) * pixels / to
    centre = low * pixels + (np.arange(to) + 0.5) * width
    away = np.abs(np.arange(pixels) + 0.5 - centre[:, None])
    weights = np.clip(1 - away / max(1.0, width), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _transform() -> np.ndarray:
    """(4 * 16, 128): each interval's lowest frequencies but the constant."""
    wave = np.outer(np.arange(1, _FREQUENCIES + 1), 2 * np.arange(_PIXELS) + 1)
    cosines = np.sqrt(2 / _PIXELS) * np.cos(np.pi / 2 / _PIXELS * wave)
    parts = [cosines @ reduction(*interval, _SIDE, _PIXELS) for interval in INTERVALS]
    return np.concatenate(parts).astype(np.float32)


_TRANSFORM = _transform()
COPIES = PictureScorer("image_copies", ("image_copies", "image_look"), ("image_id", "image"), score)
