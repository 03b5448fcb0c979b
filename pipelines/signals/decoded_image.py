"""Decodes an image once for all scorers that measure pixels, also for those of a cascade."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from embedders.media.image import UNLIMITED, has_more_frames, load_rgb, open_image
from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from store.errors import RecordError

# Pixels are measured at this size. Sharpness and hashes of an image and of a smaller copy are
# comparable only at one size, and a JPEG is decoded faster to a small size.
SHORT_SIDE, LONG_SIDE = 256, 1024


def decode_reduced(data: bytes) -> DecodedImage:
    """Decode an image to RGB, upright, at most 256 pixels on the short and 1,024 on the long side.

    There is no limit on pixels: samples were checked against the limits when they were read.

    Raises:
        RecordError: as `embedders.media.image.open_image`.
    """
    _, image = open_image(data, max_pixels=UNLIMITED)
    animated = has_more_frames(image)
    rgb = load_rgb(image, SHORT_SIDE, max_pixels=UNLIMITED)
    scale = min(1.0, SHORT_SIDE / min(rgb.size), LONG_SIDE / max(rgb.size))
    if scale < 1:
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return DecodedImage(rgb, animated, data)


class KeptImages:
    """The decoded images of some samples, for scorers that run after others: at most 1 MB each."""

    def __init__(self) -> None:
        self._images: dict[str, DecodedImage] = {}

    def decode(self, image_id: str, data: bytes) -> DecodedImage:
        """Decode an image as `decode_reduced` does, unless it was decoded before."""
        if image_id not in self._images:
            self._images[image_id] = decode_reduced(data)
        return self._images[image_id]


def measure_image(
    data: bytes,
    scorers: Sequence[ImageScorer],
    decode: Callable[[bytes], DecodedImage] = decode_reduced,
) -> tuple[Values, dict[str, Exception]]:
    """Measure one image.

    Args:
        data: the encoded file.
        decode: `decode_reduced`, or what keeps its results.

    Returns:
        The values by column, and the exceptions by the name of the scorer that failed. If the
        image cannot be decoded, there are no values and every scorer failed.
    """
    values: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    try:
        image = decode(data)
    except RecordError as error:
        return {}, {scorer.name: error for scorer in scorers}
    for scorer in scorers:
        try:
            values |= scorer.score(image)
        except Exception as error:  # a scorer may raise anything; the others go on
            failures[scorer.name] = error
    return values, failures
