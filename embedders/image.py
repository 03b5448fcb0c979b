"""Pictures as models want them: RGB, upright, transparency laid on white."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from store.errors import RecordError

MAX_PIXELS = 100_000_000

# The six that ingest accepts: Pillow would try whatever decoders are installed.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def load_rgb(raw: Any, side: int | None = None, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture as RGB, turned as its EXIF says.

    Args:
        raw: encoded bytes, a path, or a PIL image.
        side: a JPEG may be decoded smaller, though never with a short side below this.
        max_pixels: seen before anything is decoded.

    Raises:
        RecordError: `image.broken` (no picture that Pillow reads, or a damaged one),
            `image.pixels`.
    """
    try:
        if isinstance(raw, Image.Image):
            image = ImageOps.exif_transpose(raw)
        else:
            source = io.BytesIO(raw) if isinstance(raw, bytes) else Path(raw)
            opened = Image.open(source, formats=_FORMATS)
            _check_pixels(opened, max_pixels)
            if side:
                opened.draft("RGB", (side, side))
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # Pillow would clip at 255, and all would be white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if not image.has_transparency_data:
            return image.convert("RGB")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    except RecordError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise RecordError("image.pixels", str(error), value=limit, threshold=limit) from error
    except Exception as error:  # on hostile bytes Pillow raises nearly every type there is
        raise RecordError("image.broken", str(error)[:200] or type(error).__name__) from error


def _check_pixels(image: Image.Image, limit: int) -> None:
    pixels = image.width * image.height
    if pixels > limit:
        said = f"{image.width} x {image.height} pixels, at most {limit} are decoded"
        raise RecordError("image.pixels", said, value=pixels, threshold=limit)
