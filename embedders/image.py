"""Pictures as models want them: RGB, upright, transparency laid on white."""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from store.errors import RecordError


def load_rgb(raw: Any, side: int | None = None) -> Image.Image:
    """A picture as RGB.

    Args:
        raw: encoded bytes, a path, or a PIL image.
        side: a JPEG may be decoded smaller, though never with a short side below this.

    Raises:
        RecordError: it is no picture that Pillow reads, or it is broken.
    """
    try:
        if isinstance(raw, Image.Image):
            image = raw
        else:
            opened = Image.open(io.BytesIO(raw) if isinstance(raw, bytes) else Path(raw))
            if side:
                opened.draft("RGB", (side, side))
            image = ImageOps.exif_transpose(opened)
        if not image.has_transparency_data:
            return image.convert("RGB")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    except Exception as error:  # on hostile bytes Pillow raises nearly every type there is
        raise RecordError("image.broken", str(error)[:200] or type(error).__name__) from error
