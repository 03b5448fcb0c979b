"""Pictures of a batch, each decoded once for all scorers that look at pixels."""

from collections.abc import Sequence

from PIL import Image

from embedders.media.image import load_rgb, open_image
from pipelines.signals.scorer import Picture, PictureScorer, Values
from store.errors import RecordError

# Pixels are measured at this size: sharpness and hashes of a picture and of its smaller copy are
# comparable only there, and a JPEG decodes faster to it.
SHORT_SIDE, LONG_SIDE = 256, 1024


def open_picture(data: bytes) -> Picture:
    """A picture as RGB, upright, at most 256 pixels on its short and 1,024 on its long side.

    Samples were checked against the limits when they were read: no limit is set here.
    Raises RecordError as `embedders.media.image.open_image` does.
    """
    _, image = open_image(data, max_pixels=1 << 62)
    animated = bool(getattr(image, "is_animated", False))
    rgb = load_rgb(image, SHORT_SIDE, max_pixels=1 << 62)
    scale = min(1.0, SHORT_SIDE / min(rgb.size), LONG_SIDE / max(rgb.size))
    if scale < 1:
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return Picture(rgb, animated)


def measure_picture(
    data: bytes, scorers: Sequence[PictureScorer]
) -> tuple[Values, dict[str, Exception]]:
    """The values of one picture, and what went wrong by scorer."""
    values: dict = {}
    failed: dict[str, Exception] = {}
    try:
        picture = open_picture(data)
    except RecordError as error:
        return {}, {s.name: error for s in scorers}
    for scorer in scorers:
        try:
            values |= scorer.score(picture)
        except Exception as error:  # whatever a scorer raises costs this record alone
            failed[scorer.name] = error
    return values, failed
