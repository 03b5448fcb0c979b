"""Pictures: six formats, known by their first bytes, decoded by Pillow and nothing else.

The decoders are called directly. Pillow's own `open` would try whatever else is installed, and
would compare sizes with a limit that belongs to the whole process instead of ours.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pipelines.sources.records import check_size
from store.config import Limits
from store.errors import RecordError

# Remarks on odd metadata; what matters is raised.
warnings.filterwarnings("ignore", module=r"PIL\.")

_Decoder = Callable[[io.BytesIO], ImageFile.ImageFile]
_DECODERS: list[tuple[str, tuple[bytes, ...], _Decoder]] = [
    ("png", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ("jpeg", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ("webp", (b"RIFF",), WebPImagePlugin.WebPImageFile),
    ("gif", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ("bmp", (b"BM",), BmpImagePlugin.BmpImageFile),
    (
        "tiff",
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        TiffImagePlugin.TiffImageFile,
    ),
]
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageInfo:
    """`format` is png, jpeg, webp, gif, bmp or tiff; sides in pixels, as the picture is seen."""

    format: str
    width: int
    height: int


def read_image(data: bytes, limits: Limits) -> ImageInfo:
    """Checks a picture and decodes it once; of an animation or a stack, the first frame.

    Raises RecordError: `image.empty`, `image.bytes`, `image.format` (none of the six),
    `image.pixels` (seen before decoding), `image.truncated`, `image.broken`.
    """
    check_size("image", len(data), limits)
    name, image = _open(data)
    width, height = image.size
    if width * height > limits.image_pixels:
        raise RecordError(
            "image.pixels",
            f"{width} x {height} pixels, at most {limits.image_pixels} are decoded",
            value=width * height,
            threshold=limits.image_pixels,
        )
    with _named_errors():
        if name == "png":
            _open(data)[1].verify()  # checksums, and that the end is there
        # An eighth of the size still walks through the whole of a JPEG, in a third of the time.
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
    if _orientation(image) >= 5:
        width, height = height, width
    return ImageInfo(name, width, height)


def load_rgb(data: bytes, side: int | None = None) -> Image.Image:
    """A picture as RGB, upright, transparency laid on white; not resized.

    With `side`, a JPEG may come smaller, though never with a short side below `side`: decoding at
    a fraction of the size is several times faster. Greys of 16 bits become 8; greys of 32 bits
    and floats are stretched from their least to their greatest value.

    Raises RecordError as `read_image` does, but checks no limits.
    """
    _, image = _open(data)
    with _named_errors():
        if side:
            image.draft("RGB", (side, side))
        image.load()
        upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        return _flatten(_eight_bits(upright))


def thumbnail(data: bytes, side: int = 160) -> bytes:
    """A JPEG whose longer side is at most `side` pixels; RGB as by `load_rgb`, same errors."""
    image = load_rgb(data, side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()


def _open(data: bytes) -> tuple[str, ImageFile.ImageFile]:
    if not data:
        raise RecordError("image.empty", "no bytes at all")
    for name, magics, decoder in _DECODERS:
        if data.startswith(magics) and (name != "webp" or data[8:12] == b"WEBP"):
            with _named_errors():
                return name, decoder(io.BytesIO(data))
    known = ", ".join(name for name, _, _ in _DECODERS)
    raise RecordError("image.format", f"not one of {known}; it begins with {data[:8]!r}")


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError as error:  # a GIF's frame may exceed its own canvas
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise RecordError("image.pixels", str(error), value=limit, threshold=limit) from error
    except Exception as error:  # on hostile bytes Pillow raises nearly every type there is
        message = str(error) or type(error).__name__
        short = isinstance(error, EOFError) or "runcated" in message
        raise RecordError(f"image.{'truncated' if short else 'broken'}", message[:200]) from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF says nothing about the picture
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow would clip these at 255, which turns nearly every pixel white.
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)
        low, high = values.min(), values.max()
        return Image.fromarray(((values - low) * (255 / (high - low or 1))).astype(np.uint8))
    return image


def _flatten(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")
