"""Lists and reads videos: the first frame of each span of time is a record, with the span's sound.

Its caption is what a file of subtitles of the same name (.srt, .vtt) says in that time, else the
text file of the same name, else the title of the video. Its `meta` names the video and the time.
"""

import io
import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import soundfile

from pipelines.sources import planned as plans
from pipelines.sources.isolated.parent import Program, parse
from pipelines.sources.isolated.pipe import Message
from pipelines.sources.records import BadRecord, Planned, Record, Unit, printable
from pipelines.sources.videos.side_files import SideFiles
from store.config.limits import Limits
from store.config.sources import Videos
from store.errors import RecordError

count = plans.count


def plan(root: str, path: str, options: Videos) -> list[Planned]:
    """List the records of a video: a frame of each span that has one, and what cannot be read."""
    request = {"task": "list", "every": options.every, "pixels": options.pixels}
    program = _program(options, options.seconds)
    listed = next(parse(program, root, path, request | {"frames": options.frames}))
    if isinstance(listed, RecordError):
        return [Planned(path, printable(path), error=listed)]
    spans = [int(span) for span in listed.fields["spans"]]
    title = str(listed.fields["title"])
    records = [Planned(path, _key(path, span, options), (span, 0), title=title) for span in spans]
    if "lost" in listed.fields:
        span, why = listed.fields["lost"]
        error = RecordError("video.truncated", str(why))
        records.append(Planned(path, _key(path, int(span), options), error=error))
    if listed.fields["is_over"]:
        message = f"it has more than the {options.frames} frames that are read"
        most = options.frames
        error = RecordError("video.frames", message, value=most + 1, threshold=most)
        records.append(Planned(path, _key(path, spans[-1] + 1, options), error=error))
    return records


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit's videos. An error in a file beside a video fails its records."""
    options = unit.videos or Videos()
    request = {
        "task": "read",
        "every": options.every,
        "pixels": options.pixels,
        "longest_side": options.longest_side,
        "audio": options.audio,
    }
    sides = SideFiles(unit.root, unit.paths, limits)
    program = _program(options, options.frame_seconds)
    return plans.read(unit, program, request, partial(_record, options, sides))


def _record(options: Videos, sides: SideFiles, planned: Planned, message: Message) -> Record:
    span, _ = planned.place
    start = span * options.every
    side = sides.of(planned.path)
    own = {"video": printable(planned.path), "time": start, "seconds": options.every}
    record = Record(
        source=printable(planned.path),
        key=planned.key,
        image=message.blobs[0],
        image_name=planned.key,
        text=side.words(start, start + options.every),
        meta=json.dumps(side.meta | own, ensure_ascii=False).encode(),
        name_text=planned.title.strip() or None,
    )
    if len(message.blobs) > 1:
        rate, channels = int(message.fields["rate"]), int(message.fields["channels"])
        record.audio = _flac(message.blobs[1], rate, channels)
        record.audio_name = planned.key
    return record


def _flac(samples: bytes, rate: int, channels: int) -> bytes:
    out = io.BytesIO()
    pcm = np.frombuffer(samples, np.int16).reshape(-1, channels)
    soundfile.write(out, pcm, rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _key(path: str, span: int, options: Videos) -> str:
    return printable(f"{path}#t={round(span * options.every, 3)}")


def _program(options: Videos, result_seconds: float) -> Program:
    module = "pipelines.sources.videos.child"
    return Program(module, "video", options.bytes, result_seconds, options.seconds)
