"""The program of a child process that parses one video with FFmpeg (see `isolated`).

A request has the `file`, the number of the `first` message to give, `every` (the length of a span
in seconds), `pixels` (the largest frame that is decoded), and:

- to list: `task` "list", `frames` (how many spans at most). The one message has `spans`, the
  numbers of the spans in which frames begin; `is_over`, whether there are more; `title`; and
  `lost`, if the file ends before the time that its header says: the first missing span, and why.
- to read: `task` "read", `places` (span, 0), `longest_side`, and `audio` (whether to read the
  sound). Each place has a message with a JPEG of the first frame of the span and, if there is
  sound, its samples (16-bit), with their `rate` and `channels`.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import av.error

from pipelines.sources.isolated.child import Message, failed, fatal, serve
from pipelines.sources.videos.streams import (
    Clock,
    Sound,
    frames,
    jpeg,
    open_video,
    packet_time,
    packets,
)

_MICROSECONDS = 1e-6
_SLACK = 1.0  # seconds by which a video may end before the time that its header says


def run(request: dict[str, Any]) -> Iterator[Message]:
    """The messages of a request."""
    try:
        container = open_video(request["file"], request["pixels"])
    except (av.error.FFmpegError, UnicodeError, PermissionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield fatal("video.broken", f"no video that FFmpeg can read: {reason}"[:300])
        return
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        yield fatal("video.no_frames", f"it has no stream of video, but {kinds}")
        return
    stream = container.streams.video[0]
    context = stream.codec_context
    pixels = 0 if context is None else context.width * context.height
    if pixels <= 0:
        yield fatal("video.broken", "its frames have no size, or an unknown format")
    elif pixels > request["pixels"]:
        message = (
            f"{context.width} x {context.height} pixels, at most {request['pixels']} are decoded"
        )
        yield fatal("video.pixels", message, pixels, request["pixels"])
    elif request["task"] == "list":
        yield _listed(container, stream, request)
    else:
        yield from _read(container, stream, request)


def _listed(
    container: av.container.InputContainer, stream: av.VideoStream, request: dict[str, Any]
) -> Message:
    """What spans have frames, by the times of the packets: nothing is decoded."""
    clock, most = Clock(stream, request["every"]), request["frames"]
    spans: set[int] = set()
    errors: list[str] = []
    is_over, last = False, clock.start
    for packet in packets(container, stream, errors):
        time = packet_time(packet)
        if time is None or packet.is_discard or not packet.size:
            continue
        span = clock.span(time)
        if span not in spans and len(spans) == most:
            is_over = True
            break
        spans.add(span)
        last = max(last, time)
    why = "".join(f"; {error}" for error in errors)
    if not spans:
        return fatal("video.no_frames", f"no frame of it has a time{why}"[:300])
    fields: dict[str, Any] = {"spans": sorted(spans), "is_over": is_over}
    fields["title"] = str(container.metadata.get("title", ""))
    promised = _promised_seconds(container, stream)
    seconds = last - clock.start
    if not is_over and (errors or promised - seconds > max(_SLACK, request["every"])):
        fields["lost"] = max(spans) + 1, f"it ends at {seconds:.1f} of {promised:.1f} seconds{why}"
    return fields, []


def _promised_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """The length of the video, as its header says; 0 if it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) * _MICROSECONDS


def _read(
    container: av.container.InputContainer, stream: av.VideoStream, request: dict[str, Any]
) -> Iterator[Message]:
    clock = Clock(stream, request["every"])
    spans = [span for span, _ in request["places"][request["first"] :]]
    if request["first"] and spans:  # another child died before: go on at the next whole frame
        begin = clock.begin(spans[0])
        with suppress(av.error.FFmpegError):
            offset = int(begin / stream.time_base) if stream.time_base else 0
            container.seek(offset, stream=stream, backward=False)
    sound = _sound(request, clock)
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 0.1 < aspect < 10:
        aspect = 1.0
    errors: list[str] = []
    decoded = frames(container, stream, errors)
    current = next(decoded, None)
    for span in spans:
        while current is not None and clock.span(current[0]) < span:
            current = next(decoded, None)
        if current is None or clock.span(current[0]) > span:
            why = f": {errors[0]}" if errors else ""
            yield failed("video.frame", f"no frame of this time can be decoded{why}"[:300])
            continue
        fields: dict[str, Any] = {"seconds": current[0] - clock.start}
        blobs = [jpeg(current[1], request["longest_side"], aspect)]
        if sound is not None and (samples := sound.of_span(span)):
            fields |= {"rate": sound.rate, "channels": sound.channels}
            blobs.append(samples)
        yield fields, blobs


def _sound(request: dict[str, Any], clock: Clock) -> Sound | None:
    """The sound of the file; None where it has none, or none that can be decoded."""
    if not request["audio"]:
        return None
    try:
        container = open_video(request["file"], request["pixels"])
        streams = container.streams.audio
        has_decoder = bool(streams) and streams[0].codec_context is not None
        return Sound(container, clock) if has_decoder else None
    except (av.error.FFmpegError, ValueError):
        return None


if __name__ == "__main__":
    serve(run, "video")
