"""Nudity, by NudeNet (Bedapudi 2019-2024): a YOLOv8n detector whose weights are in its package.

Optional: a forward pass takes several times as long as all other signals of an image together.
"""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pipelines.signals.scorer import Picture, PictureScorer, Values
from pipelines.signals.scorers.onnx_models import packaged, session

_SIDE = 320
_BOX = 4  # rows of the output before those of the classes
# Of its 18 classes: exposed buttocks, female breast, female genitalia, anus, male genitalia.
_EXPOSED = (2, 3, 4, 6, 14)


def score(picture: Picture) -> Values:
    """`image_nsfw`: the highest probability of an exposed part in the image, 0 to 1."""
    (found,) = _model().run(None, {"images": network_input(picture.rgb)})
    return {"image_nsfw": float(found[0, [_BOX + c for c in _EXPOSED]].max())}


def network_input(rgb: Image.Image) -> np.ndarray:
    """The input of the model, as the package's own detector makes it.

    Returns:
        Float32 (1, 3, 320, 320): blue, green, red, 0 to 1. The image is in the upper left of a
        black square.
    """
    scale = _SIDE / max(rgb.size)
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    small = rgb.resize(size, Image.Resampling.BILINEAR)
    square = np.zeros((_SIDE, _SIDE, 3), np.float32)
    square[: small.height, : small.width] = np.asarray(small)[..., ::-1]
    return square.transpose(2, 0, 1)[None] / np.float32(255)


@cache
def _model() -> Any:
    return session(packaged("nudenet", "320n.onnx"))


NSFW = PictureScorer("image_nsfw", ("image_nsfw",), ("image_id", "image"), score)
