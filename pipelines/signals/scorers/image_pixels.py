"""What pixels tell: sharpness, entropy, brightness, contrast, near-uniformity.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in
brightfield microscopy"); the others are moments of the histogram of luma (ITU-R BT.601), as in
CleanVision and Data-Juicer.
"""

import numpy as np

from pipelines.signals.scorer import Picture, PictureScorer, Values

_LEVELS = np.arange(256)
_NEAR = 9  # grey levels that count as one: what JPEG makes of an even surface
_GIVES = (
    "image_animated",
    "image_sharpness",
    "image_entropy",
    "image_brightness",
    "image_contrast",
    "image_uniformity",
)


def score(picture: Picture) -> Values:
    """Measured at 256 pixels on the short side, of luma between 0 and 255 (L).

    `image_animated` is 1 where there are more frames than the first, which is what is measured.
    `image_sharpness` is the variance of L's Laplacian; `image_entropy` is in bits, 0 to 8;
    `image_brightness` and `image_contrast` are mean and standard deviation of L / 255;
    `image_uniformity` is the largest share of pixels that 9 neighbouring grey levels hold.
    """
    counts = np.bincount(picture.luma.ravel(), minlength=256)
    share = counts / counts.sum()
    mean = float(share @ _LEVELS)
    some = share[share > 0]
    return {
        "image_animated": int(picture.animated),
        "image_sharpness": laplacian_variance(picture.luma),
        "image_entropy": max(0.0, float(-(some @ np.log2(some)))),
        "image_brightness": mean / 255,
        "image_contrast": float(np.sqrt(share @ (_LEVELS - mean) ** 2)) / 255,
        "image_uniformity": float(np.convolve(share, np.ones(_NEAR), "same").max()),
    }


def laplacian_variance(luma: np.ndarray) -> float:
    """The variance of the 4-neighbour Laplacian of uint8 (h, w), inside its border.

    0 where a side has fewer than 3 pixels.
    """
    if min(luma.shape) < 3:
        return 0.0
    x = luma.astype(np.int16)
    edges = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]
    return float(edges.var(dtype=np.float64))


PIXELS = PictureScorer("image_pixels", _GIVES, ("image_id", "image"), score)
