"""Cut recordings into windows and images into tiles, with spans (`store.tables.moments`)."""

import io
from collections.abc import Iterator
from math import ceil

import numpy as np
import soundfile
from PIL import Image

from embedders.media.audio import load_mono, open_audio
from embedders.media.image import load_rgb

Span = tuple[float, float, float, float]
_MOST_FRAMES = 1 << 25  # that are decoded: 134 MB; 11 minutes at 48 kHz


def windows(raw: bytes, seconds: float, step: float, most: int) -> Iterator[tuple[bytes, Span]]:
    """Cut a recording into windows.

    The last window ends where the recording ends. A recording that is shorter than a window is one.

    Args:
        raw: encoded bytes.
        seconds: of a window.
        step: seconds from one start to the next one.
        most: windows; what comes later is not decoded.

    Yields:
        Each window as the bytes of a WAV file with one channel, and its span.

    Raises:
        RecordError: the rules of `embedders.media.audio.load_mono`.
    """
    with open_audio(raw) as sound:
        rate = sound.samplerate
    limit = min((most - 1) * step + seconds, _MOST_FRAMES / rate)
    samples = load_mono(raw, rate, limit)
    width, hop = max(1, round(seconds * rate)), max(1, round(step * rate))
    last = max(0, len(samples) - width)
    for number in range(min(most, ceil(last / hop) + 1)):
        start = min(number * hop, last)
        window = samples[start : start + width]
        file = io.BytesIO()
        soundfile.write(file, window, rate, format="WAV", subtype="FLOAT")
        yield file.getvalue(), (start / rate, (start + len(window)) / rate, 0.0, 0.0)


def tiles(raw: bytes, count: int, overlap: float) -> Iterator[tuple[Image.Image, Span]]:
    """Cut an image into count x count tiles of equal size, row by row.

    Args:
        raw: encoded bytes.
        count: tiles in a row and in a column, at least 2.
        overlap: the share of a tile's side that it has in common with the next one.

    Yields:
        Each tile, and its span. A tile has at least one pixel.

    Raises:
        RecordError: the rules of `embedders.media.image.load_rgb`.
    """
    image = load_rgb(raw)
    side = 1 / (count - (count - 1) * overlap)
    starts = np.linspace(0, 1 - side, count)
    for top in starts:
        for left in starts:
            span = (float(left), float(top), float(left + side), float(top + side))
            yield image.crop(_pixels(image.size, span)), span


def _pixels(size: tuple[int, int], span: Span) -> tuple[int, int, int, int]:
    """A span in pixels."""
    left, top = (min(round(s * n), n - 1) for s, n in zip(span[:2], size, strict=True))
    right, bottom = (round(s * n) for s, n in zip(span[2:], size, strict=True))
    return left, top, max(right, left + 1), max(bottom, top + 1)
