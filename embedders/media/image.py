"""Decode images: check them as delivered, and load them for encoders.

Six formats are read (PNG, JPEG, WebP, GIF, BMP, TIFF), recognised by their first bytes and decoded
by Pillow. Pillow's decoder classes are called directly: `Image.open` would try every decoder that
is installed, and its limit on pixels holds for the whole process.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

from store.config.limits import Limits
from store.errors import RecordError

# Pillow warns about odd metadata. Real damage is raised as an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
MAX_PIXELS = 100_000_000
UNLIMITED = 1 << 62  # pixels
_Decoder = Callable[[io.BytesIO], ImageFile.ImageFile]
_DECODERS: list[tuple[str, tuple[bytes, ...], _Decoder]] = [
    ("png", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ("jpeg", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ("webp", (b"RIFF",), WebPImagePlugin.WebPImageFile),
    ("gif", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ("bmp", (b"BM",), BmpImagePlugin.BmpImageFile),
    ("tiff", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
]
_EXIF_ORIENTATION = 0x0112
_FIRST_SIDEWAYS = 5  # EXIF orientations 5 to 8 swap width and height


@dataclass(frozen=True)
class ImageInfo:
    """Facts about a checked image.

    Attributes:
        format: png, jpeg, webp, gif, bmp or tiff.
        width: in pixels, after EXIF's rotation.
        height: in pixels, after EXIF's rotation.
    """

    format: str
    width: int
    height: int


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, ImageFile.ImageFile]:
    """Read an image's header. No pixel is decoded.

    Args:
        data: the encoded image.
        max_pixels: the largest width times height.

    Returns:
        The format's name, and the image.

    Raises:
        RecordError: `image.empty`, `image.format` (none of the six), `image.pixels`,
            `image.truncated`, `image.broken`.
    """
    if not data:
        raise RecordError("image.empty", "the file has no bytes")
    for name, magics, decoder in _DECODERS:
        if data.startswith(magics) and (name != "webp" or data[8:12] == b"WEBP"):
            with _pillow_errors():
                image = decoder(io.BytesIO(data))
            _check_pixels(image, max_pixels)
            return name, image
    formats = ", ".join(name for name, _, _ in _DECODERS)
    raise RecordError("image.format", f"not one of {formats}; it begins with {data[:8]!r}")


def read_image(data: bytes, limits: Limits) -> ImageInfo:
    """Check an image and decode it once. Of an animation or a stack, the first frame counts.

    Args:
        data: the image as delivered.
        limits: the largest sizes that are read.

    Raises:
        RecordError: `image.bytes`, and the rules of `open_image`.
    """
    limits.check("image", len(data))
    name, image = open_image(data, limits.image_pixels)
    width, height = image.size
    with _pillow_errors():
        if isinstance(image, PngImagePlugin.PngImageFile):
            _check_chunks(image)
        # Decoding at an eighth of the size still reads a whole JPEG, in a third of the time.
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
    if _orientation(image) >= _FIRST_SIDEWAYS:
        width, height = height, width
    return ImageInfo(name, width, height)


def _check_chunks(image: PngImagePlugin.PngImageFile) -> None:
    """Check the checksums of an opened PNG's data and its end chunk.

    As Pillow's `verify`, but the image can still be loaded; another one need not be opened.
    """
    assert image.fp is not None
    assert image.png is not None
    image.fp.seek(image.tile[0].offset - len(b"IDAT") - 4)  # of the length
    image.png.verify()


def has_more_frames(image: ImageFile.ImageFile) -> bool:
    """Whether an opened image is an animation or a stack. A damaged second frame counts too."""
    try:
        with _pillow_errors():
            return bool(getattr(image, "is_animated", False))  # looks for the second frame
    except RecordError:
        return True


def load_rgb(raw: Any, side: int | None = None, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Load an image as RGB, upright, with transparency laid on white. It is not resized.

    16-bit greys become 8-bit greys; 32-bit greys and floats are scaled so that their smallest
    value becomes 0 and their largest 255.

    Args:
        raw: encoded bytes, a path, or a PIL image.
        side: allows a JPEG to be decoded smaller, with a short side of at least `side` pixels.
            Decoding at a fraction of the size is several times faster.
        max_pixels: the largest width times height; checked before anything is decoded.

    Raises:
        RecordError: the rules of `open_image`.
    """
    if isinstance(raw, Image.Image):
        image = raw
        _check_pixels(image, max_pixels)
    else:
        _, image = open_image(raw if isinstance(raw, bytes) else Path(raw).read_bytes(), max_pixels)
    with _pillow_errors():
        if side and isinstance(image, ImageFile.ImageFile):
            image.draft("RGB", (side, side))
        image.load()
        upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        return _flatten(_to_eight_bits(upright))


def stored_luma(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """The luma of an image: of a JPEG, as stored; of others, of the image that `load_rgb` loads.

    There is no limit on pixels: samples were checked against the limits when they were read.

    Returns:
        uint8 (height, width), and the quantisation table of a JPEG's luma, int (8, 8). It is None
        for other formats, and for JPEGs whose first channel is not luma.

    Raises:
        RecordError: the rules of `open_image`.
    """
    name, image = open_image(data, UNLIMITED)
    if name == "jpeg":
        with _pillow_errors():
            table = image.quantization[image.layer[0][3]]  # type: ignore[attr-defined]
            steps = np.array(table, np.int64).reshape(8, 8)
            image.draft("L", image.size)
            if image.mode == "L":
                return np.asarray(image), steps
    return np.asarray(load_rgb(data, max_pixels=UNLIMITED).convert("L")), None


def thumbnail(data: bytes, side: int = 160) -> bytes:
    """Make a JPEG whose longer side has at most `side` pixels.

    Args:
        data: the encoded image, loaded by `load_rgb`.
        side: in pixels.

    Raises:
        RecordError: the rules of `open_image`.
    """
    image = load_rgb(data, side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()


def _check_pixels(image: Image.Image, limit: int) -> None:
    """Raise RecordError `image.pixels`, as a rejection, if the image has more than `limit`."""
    pixels = image.width * image.height
    if pixels > limit:
        message = f"{image.width} x {image.height} pixels, at most {limit} are decoded"
        raise RecordError("image.pixels", message, value=pixels, threshold=limit)


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Raise any error of Pillow as RecordError `image.pixels`, `.truncated` or `.broken`."""
    try:
        yield
    except Image.DecompressionBombError as error:  # a GIF's frame may be larger than its canvas
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise RecordError("image.pixels", str(error), value=limit, threshold=limit) from error
    except Exception as error:  # on hostile bytes Pillow raises almost every type of error
        message = str(error) or type(error).__name__
        is_truncated = isinstance(error, EOFError) or "runcated" in message
        rule = "image.truncated" if is_truncated else "image.broken"
        raise RecordError(rule, message[:200]) from error


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) to 8."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # the image may be fine although its EXIF block is broken
        return 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255, which turns almost every pixel white.
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
