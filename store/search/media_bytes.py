"""Media given as arrays, as encoded bytes: an image as PNG or TIFF, a recording as WAV."""

import io
import struct
from typing import Any

import numpy as np

from store.errors import InputError

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_FLOAT_WAV = 3  # the WAVE format code of 32-bit floats
_MAX_RATE = 768_000  # Hz
_MAX_CHANNELS = 64


def encode_image(image: Any) -> bytes:
    """Encode a PIL image without loss. TIFF holds the modes that PNG does not, such as CMYK."""
    out = io.BytesIO()
    if image.mode in _PNG_MODES:
        image.save(out, format="PNG", compress_level=1)
    else:
        image.save(out, format="TIFF")
    return out.getvalue()


def encode_pixels(array: np.ndarray) -> bytes:
    """Encode uint8 (h, w) or (h, w, 3 or 4). Raises InputError for other arrays."""
    from PIL import Image

    if array.dtype != np.uint8 or not array.size or array.shape[2:] not in ((), (3,), (4,)):
        raise InputError(
            "image= takes arrays of uint8 (height, width) or (height, width, 3 or 4), not"
            f" {array.dtype} {array.shape}"
        )
    return encode_image(Image.fromarray(array))


def encode_samples(samples: Any, rate: Any) -> bytes:
    """Encode a recording as WAV with 32-bit floats.

    Args:
        samples: (n,) or (n, channels), floats or signed integers.
        rate: in Hz.

    Raises:
        InputError: they are not.
    """
    try:
        array = np.asarray(samples)
        if array.dtype.kind not in "fi":
            raise TypeError(f"samples have the type {array.dtype}")
        scale = np.iinfo(array.dtype).max if array.dtype.kind == "i" else 1.0
        data = (array / scale).astype("<f4")
        channels = 1 if data.ndim == 1 else data.shape[-1]
        if data.ndim not in (1, 2) or not data.size or channels > _MAX_CHANNELS:
            raise ValueError(f"samples have the shape {data.shape}")
        if isinstance(rate, bool) or int(rate) != rate or not 1 <= rate <= _MAX_RATE:
            raise ValueError(f"the rate is {rate!r}")
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            "audio= takes (samples, rate) with samples (n,) or (n, channels) of floats or signed"
            f" integers and a rate in Hz: {str(error)[:100]}"
        ) from None
    rate = int(rate)
    form = struct.pack("<HHIIHH", _FLOAT_WAV, channels, rate, 4 * rate * channels, 4 * channels, 32)
    body = data.tobytes()
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks
