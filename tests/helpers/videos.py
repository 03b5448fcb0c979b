"""Encodes small videos: frames of one colour each, a tone, subtitles beside them."""

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

Colour = tuple[int, int, int]
RATE = 16_000


def video(
    colours: Sequence[Colour],
    format: str = "mp4",
    codec: str = "mpeg4",
    size: tuple[int, int] = (64, 48),
    fps: int = 8,
    tone: bool = False,
    title: str | None = None,
    **options: str,
) -> bytes:
    """A video that shows each colour for a second.

    Args:
        colours: in their order.
        format: of the container.
        codec: of the frames.
        size: width and height in pixels.
        fps: frames in a second.
        tone: whether it has sound: 400 Hz in the first second, 800 Hz in the second, and so on.
        title: in the metadata of the container.
        options: of the container.
    """
    # FFmpeg opens it again to move the index to its start.
    out = tempfile.NamedTemporaryFile()  # noqa: SIM115 (closed below)
    container = av.open(out.name, "w", format=format, options=options)
    if title is not None:
        container.metadata["title"] = title
    stream = container.add_stream(codec, rate=fps)
    stream.width, stream.height = size
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.bit_rate = 400_000
    stream.codec_context.gop_size = fps
    sound = container.add_stream(_audio_codec(format), rate=RATE, layout="mono") if tone else None
    for second, colour in enumerate(colours):
        pixels = np.full((size[1], size[0], 3), colour, np.uint8)
        for number in range(fps):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = second * fps + number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        if sound is not None:
            times = np.arange(RATE) / RATE
            wave = 0.5 * np.sin(2 * np.pi * 400 * (second + 1) * times)
            samples = (wave * 32767).astype(np.int16)[None]
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, second * RATE, Fraction(1, RATE)
            container.mux(sound.encode(block))
    container.mux(stream.encode(None))
    if sound is not None:
        container.mux(sound.encode(None))
    container.close()
    with out:
        return out.read()


def sound_only() -> bytes:
    """An MP4 with a tone and no frames."""
    out = io.BytesIO()
    container = av.open(out, "w", format="mp4")
    stream = container.add_stream("aac", rate=RATE, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()
    return out.getvalue()


def _audio_codec(format: str) -> str:
    return {"avi": "pcm_s16le", "webm": "libopus", "matroska": "flac"}.get(format, "aac")
