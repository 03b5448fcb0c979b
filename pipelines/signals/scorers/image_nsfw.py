"""Nudity by NudeNet (Bedapudi 2019-2024), a YOLOv8n detector, or by a model of the same signature.

Optional: a forward pass takes several times what all other signals of a picture take together.
NudeNet's package contains the weights. It is licensed under the AGPL-3.0, so isotrope installs it
only on request.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from pipelines.signals.scorers.onnx_models import open_session, package_file
from store.errors import EncoderError
from store.tables.signals import SCORERS

_SIDE = 320
_BOX = 4  # rows of the output that hold a box's coordinates; the classes' rows follow
_CLASSES = 18
# The classes of exposed buttocks, female breast, female genitalia, anus, male genitalia.
_EXPOSED = (2, 3, 4, 6, 14)


def nsfw(model: Path | None) -> ImageScorer:
    """The scorer of `image_nsfw`: the highest probability of an exposed part, 0 to 1.

    The scorer raises EncoderError if the model is missing or has another signature.

    Args:
        model: an ONNX file that takes float32 (1, 3, 320, 320), as `network_input` makes it, and
            returns (1, 22, boxes): per box 4 coordinates and the probabilities of NudeNet's 18
            classes. None takes the model of the installed package `nudenet`.
    """

    def score(picture: DecodedImage) -> Values:
        session, name = _load(model)
        output = session.run(None, {name: network_input(picture.rgb)})[0]
        if output.ndim != 3 or output.shape[:2] != (1, _BOX + _CLASSES):
            raise EncoderError(
                f"signals.nsfw: the model returns the shape {output.shape}; expected"
                f" (1, {_BOX + _CLASSES}, boxes), as NudeNet's models return"
            )
        return {"image_nsfw": float(output[0, [_BOX + c for c in _EXPOSED]].max())}

    return ImageScorer("image_nsfw", SCORERS["image_nsfw"].names, ("image_id", "image"), score)


def network_input(rgb: Image.Image) -> np.ndarray:
    """The picture as float32 (1, 3, 320, 320), 0 to 1, as NudeNet's own detector prepares it: in
    the upper left of a black square, with the channels blue, green, red."""
    scale = _SIDE / max(rgb.size)
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    small = rgb.resize(size, Image.Resampling.BILINEAR)
    square = np.zeros((_SIDE, _SIDE, 3), np.float32)
    square[: small.height, : small.width] = np.asarray(small)[..., ::-1]
    return square.transpose(2, 0, 1)[None] / np.float32(255)


@cache
def _load(model: Path | None) -> tuple[Any, str]:
    """A model's session and the name of its input."""
    loaded = open_session(model or packaged_model())
    (taken, *_), sides = loaded.get_inputs(), (1, 3, _SIDE, _SIDE)
    fits = [n == side for n, side in zip(taken.shape, sides, strict=False) if isinstance(n, int)]
    if len(taken.shape) != len(sides) or not all(fits):
        raise EncoderError(f"signals.nsfw: the model takes {taken.shape}; expected {list(sides)}")
    return loaded, taken.name


def packaged_model() -> Path:
    """The model of the installed package `nudenet`. Raises EncoderError if it is not installed."""
    try:
        return package_file("nudenet", "320n.onnx")
    except EncoderError:
        raise EncoderError(
            "signals.nsfw: true needs the model of the package nudenet, which is not installed:"
            " pip install 'isotrope[nsfw-agpl]' installs it (nudenet is licensed under the"
            " AGPL-3.0). To use another model, write its path: signals: {nsfw: models/nsfw.onnx}"
        ) from None
