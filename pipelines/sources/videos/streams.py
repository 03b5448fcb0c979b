"""The frames and the sound of a video file, in FFmpeg, by spans of time.

Only a child process imports this module: FFmpeg reads hostile files, and may crash or stall. Only
the file itself is opened: playlists and references to other files or addresses are refused.
"""

import io
import math
from collections.abc import Iterator
from typing import Any, NoReturn

import av
import av.error

# FFmpeg's names of the containers of `file_kinds.VIDEO_SUFFIXES`. Others, such as playlists that
# name further files and addresses, are not opened.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,asf,flv"
_MOST_RATE, _SAMPLE_BYTES = 48_000, 2
_QUALITY = 90  # of a JPEG
_GAP = 1e-6  # seconds by which times are rounded


def open_video(path: str, pixels: int) -> av.container.InputContainer:
    """Open a file.

    Args:
        path: of the file.
        pixels: of a frame, at most, that decoders make room for.

    Raises:
        av.error.FFmpegError: it is no video, or damaged.
    """
    options = {"format_whitelist": _CONTAINERS}
    file = open(path, "rb")  # noqa: SIM115 (closed with the process)
    container = av.open(file, container_options=options, io_open=_refuse, metadata_errors="replace")
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.codec_context is not None:  # None where FFmpeg has no decoder for it
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(pixels)}
    return container


def _refuse(*_: Any) -> NoReturn:
    raise PermissionError("a video that names other files is not followed")


class Clock:
    """Turns times of a video's streams into the numbers of its spans.

    Span n begins n times `every` seconds after the start of the video stream.

    Args:
        stream: the video stream.
        every: the length of a span, in seconds.
    """

    def __init__(self, stream: av.VideoStream, every: float):
        self.every = every
        self.start = 0.0
        if stream.start_time is not None and stream.time_base is not None:
            self.start = float(stream.start_time * stream.time_base)

    def span(self, seconds: float) -> int:
        """The span of a time in the file. Times before the start are in the first one."""
        return max(0, math.floor((seconds - self.start) / self.every + _GAP))

    def begin(self, span: int) -> float:
        """The time in the file at which a span begins."""
        return self.start + span * self.every


def packet_time(packet: av.Packet) -> float | None:
    """When the frame of a packet is shown, in seconds; None if the file does not say so."""
    time = packet.pts if packet.pts is not None else packet.dts
    return None if time is None or packet.time_base is None else float(time * packet.time_base)


def packets(
    container: av.container.InputContainer, stream: av.stream.Stream, errors: list[str]
) -> Iterator[av.Packet]:
    """The packets of a stream, up to the first place that cannot be read.

    Args:
        container: of the stream.
        stream: video or sound.
        errors: gets the error of that place.
    """
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError as error:
        errors[:] = [error.strerror or str(error)]
    except IndexError:  # PyAV's, at a packet of a stream that the header does not have
        errors[:] = ["a stream begins that its header does not have"]


def frames(
    container: av.container.InputContainer, stream: av.VideoStream, errors: list[str]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames of a stream with their times. Packets that cannot be decoded are left out.

    Args:
        container: at the packet to begin with.
        stream: of the container.
        errors: gets the latest error of the decoder.
    """
    for packet in packets(container, stream, errors):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            errors[:] = [error.strerror or str(error)]
            continue
        for frame in decoded:
            if frame.time is not None:
                yield frame.time, frame


def jpeg(frame: av.VideoFrame, longest_side: int, aspect: float) -> bytes:
    """A frame as it is shown: upright, with square pixels, and with bounded sides.

    Args:
        frame: of any format.
        longest_side: in pixels.
        aspect: width of a pixel, divided by its height.
    """
    width, height = frame.width * aspect, float(frame.height)
    scale = min(1.0, longest_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = frame.reformat(width=size[0], height=size[1], format="rgb24").to_image()
    if frame.rotation:
        image = image.rotate(frame.rotation, expand=True)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


class Sound:
    """The sound of a video, read span by span.

    Attributes:
        rate: in Hz, at most 48,000.
        channels: 1 or 2.

    Args:
        container: opened for the sound alone, so that the video can be ahead or behind.
        clock: of the video.
    """

    def __init__(self, container: av.container.InputContainer, clock: Clock):
        stream = container.streams.audio[0]
        self._clock = clock
        self.channels = 2 if stream.codec_context.channels > 1 else 1
        self.rate = max(1, min(stream.codec_context.sample_rate, _MOST_RATE))
        self._frame_bytes = self.channels * _SAMPLE_BYTES
        self._most = math.ceil(clock.every * self.rate) * self._frame_bytes
        layout = "stereo" if self.channels == 2 else "mono"
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=self.rate)
        self._pieces = self._decoded(container, stream)
        self._waiting: tuple[float, bytes] | None = None

    def of_span(self, span: int) -> bytes:
        """The samples of a span, 16-bit, channels interleaved. Spans must be read in order."""
        start, end = self._clock.begin(span), self._clock.begin(span + 1)
        out = bytearray()
        while (piece := self._waiting or next(self._pieces, None)) is not None:
            self._waiting = None
            time, data = piece
            if time >= end - _GAP:
                self._waiting = piece
                break
            first = self._position(start - time, data)
            last = self._position(end - time, data)
            out += data[first:last]
            if last < len(data):
                self._waiting = end, data[last:]
                break
            if len(out) > self._most:  # times that stand still
                break
        return bytes(out[: self._most])

    def _position(self, seconds: float, data: bytes) -> int:
        return min(len(data), max(0, round(seconds * self.rate)) * self._frame_bytes)

    def _decoded(
        self, container: av.container.InputContainer, stream: av.AudioStream
    ) -> Iterator[tuple[float, bytes]]:
        for packet in packets(container, stream, []):
            try:
                for frame in packet.decode():
                    if frame.time is None:
                        continue
                    time = frame.time
                    for piece in self._resampler.resample(frame):
                        size = piece.samples * self._frame_bytes
                        yield time, bytes(piece.planes[0])[:size]
                        time += piece.samples / self.rate
            except (av.error.FFmpegError, ValueError):  # a part that cannot be decoded is silent
                continue
