"""Pictures as delivered: are they whole, and how large; and small ones to look at."""

import io
from dataclasses import dataclass

from PIL import Image

from embedders.image import load_rgb, named_errors, open_image, orientation
from pipelines.sources.records import check_size
from store.config import Limits

_SIDEWAYS = 5


@dataclass(frozen=True)
class ImageInfo:
    """`format` is png, jpeg, webp, gif, bmp or tiff; sides in pixels, as the picture is seen."""

    format: str
    width: int
    height: int


def read_image(data: bytes, limits: Limits) -> ImageInfo:
    """Checks a picture and decodes it once; of an animation or a stack, the first frame.

    Raises RecordError: `image.bytes`, and those of `embedders.image.open_image`.
    """
    check_size("image", len(data), limits)
    name, image = open_image(data, limits.image_pixels)
    width, height = image.size
    if name == "png":
        with named_errors():
            open_image(data, limits.image_pixels)[1].verify()  # checksums, and the end
    with named_errors():
        # An eighth of the size still walks through the whole of a JPEG, in a third of the time.
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
    if orientation(image) >= _SIDEWAYS:
        width, height = height, width
    return ImageInfo(name, width, height)


def thumbnail(data: bytes, side: int = 160) -> bytes:
    """A JPEG whose longer side is at most `side` pixels; RGB as by `load_rgb`, same errors."""
    image = load_rgb(data, side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()
