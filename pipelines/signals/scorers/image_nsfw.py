"""Nudity by NudeNet (Bedapudi 2019-2024): a YOLOv8n detector whose weights come in its package.

Optional: a forward pass takes several times what all other signals of a picture take together.
"""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pipelines.signals.scorer import Picture, PictureScorer, Values
from pipelines.signals.scorers.onnx_models import packaged, session

_SIDE = 320
_BOX = 4  # rows of the output before the classes'
# Of its 18 classes: exposed buttocks, female breast, female genitalia, anus, male genitalia.
_EXPOSED = (2, 3, 4, 6, 14)


def score(picture: Picture) -> Values:
    """`image_nsfw`: the highest probability of an exposed part anywhere in the picture, 0 to 1."""
    (found,) = _model().run(None, {"images": network_input(picture.rgb)})
    return {"image_nsfw": float(found[0, [_BOX + c for c in _EXPOSED]].max())}


def network_input(rgb: Image.Image) -> np.ndarray:
    """Float32 (1, 3, 320, 320), as the package's own detector feeds its model: in the upper left
    of a black square, and blue, green, red."""
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
