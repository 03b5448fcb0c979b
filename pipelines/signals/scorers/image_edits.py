"""Traces of edits in an image: an earlier compression, a pasted region, resampling.

They are measured on the stored pixels, in a square of at most 1,024 pixels in the middle.
"""

import numpy as np

from embedders.media.image import stored_luma
from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from pipelines.signals.scorers.jpeg_history import jpeg_history
from pipelines.signals.scorers.resampling import resampling
from store.tables.signals import SCORERS

_MOST_SIDE, _BLOCK = 1024, 8  # pixels


def score(image: DecodedImage) -> Values:
    """`image_double_jpeg`, `image_splice`: see `JpegHistory`; null if the file is no JPEG.
    `image_resampled`: see `resampling`.
    """
    luma, steps = stored_luma(image.data)
    luma = _middle(luma)
    history = None if steps is None else jpeg_history(luma, steps)
    return {
        "image_double_jpeg": history and history.double,
        "image_splice": history and history.splice,
        "image_resampled": resampling(luma, has_blocks=steps is not None),
    }


def _middle(luma: np.ndarray) -> np.ndarray:
    """The middle of an image, from a corner of a block on."""
    top, left = (max(0, side - _MOST_SIDE) // 2 // _BLOCK * _BLOCK for side in luma.shape)
    return luma[top : top + _MOST_SIDE, left : left + _MOST_SIDE]


EDITS = ImageScorer("image_edits", SCORERS["image_edits"].names, ("image_id", "image"), score)
