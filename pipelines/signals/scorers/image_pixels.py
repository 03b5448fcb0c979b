"""Sharpness, entropy, brightness, contrast and uniformity of an image's pixels.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in
brightfield microscopy"). The others are computed from the histogram of luma (ITU-R BT.601), as in
CleanVision and Data-Juicer.
"""

import numpy as np

from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from store.tables.signals import SCORERS

_LEVELS = np.arange(256)
_NEAR_LEVELS = 9  # neighbouring grey levels that JPEG makes of one even surface


def score(image: DecodedImage) -> Values:
    """Measured at 256 pixels on the short side, on the luma L, 0 to 255.

    - `image_animated`: 1 if there are more frames than the first, which is measured; else 0.
    - `image_sharpness`: variance of the Laplacian of L.
    - `image_entropy`: bits, 0 to 8.
    - `image_brightness`, `image_contrast`: mean and standard deviation of L / 255.
    - `image_uniformity`: largest share of pixels within 9 neighbouring grey levels.
    """
    counts = np.bincount(image.luma.ravel(), minlength=256)
    share = counts / counts.sum()
    mean = float(share @ _LEVELS)
    nonzero = share[share > 0]
    return {
        "image_animated": int(image.animated),
        "image_sharpness": laplacian_variance(image.luma),
        "image_entropy": max(0.0, float(-(nonzero @ np.log2(nonzero)))),
        "image_brightness": mean / 255,
        "image_contrast": float(np.sqrt(share @ (_LEVELS - mean) ** 2)) / 255,
        "image_uniformity": float(np.convolve(share, np.ones(_NEAR_LEVELS), "same").max()),
    }


def laplacian_variance(luma: np.ndarray) -> float:
    """The variance of the 4-neighbour Laplacian, without the border pixels.

    Args:
        luma: uint8 (height, width).

    Returns:
        0 if a side has fewer than 3 pixels.
    """
    if min(luma.shape) < 3:
        return 0.0
    x = luma.astype(np.int16)
    edges = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]
    return float(edges.var(dtype=np.float64))


PIXELS = ImageScorer("image_pixels", SCORERS["image_pixels"].names, ("image_id", "image"), score)
