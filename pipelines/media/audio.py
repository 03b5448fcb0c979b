"""Sound as delivered: is it whole, and how long."""

from dataclasses import dataclass

import soundfile

from embedders.sound import FORMATS, blocks, open_sound, promised_frames
from pipelines.sources.records import check_size
from store.config import Limits
from store.errors import RecordError


@dataclass(frozen=True)
class AudioInfo:
    """`format` is wav, flac, ogg or mp3; `seconds` are counted from what was decoded."""

    format: str
    seconds: float
    sample_rate: int
    channels: int


def read_audio(data: bytes, limits: Limits) -> AudioInfo:
    """Checks a recording and decodes all of it, block by block.

    Raises RecordError: `audio.bytes`, `audio.seconds` (before decoding where the header tells),
    `audio.empty` (no bytes, or no frames), `audio.truncated`, and those of
    `embedders.sound.open_sound` and `blocks`.
    """
    check_size("audio", len(data), limits)
    with open_sound(data) as sound:
        return _decode(sound, limits)


def _decode(sound: soundfile.SoundFile, limits: Limits) -> AudioInfo:
    rate, promised = sound.samplerate, promised_frames(sound)
    _check_seconds(promised / rate, limits)
    frames = 0
    for block in blocks(sound):
        frames += len(block)
        _check_seconds(frames / rate, limits)
    if frames < promised:
        raise RecordError("audio.truncated", f"{frames} of {promised} frames are there")
    if frames == 0:
        raise RecordError("audio.empty", "no frames")
    return AudioInfo(FORMATS[sound.format], frames / rate, rate, sound.channels)


def _check_seconds(seconds: float, limits: Limits) -> None:
    if seconds > limits.audio_seconds:
        raise RecordError(
            "audio.seconds",
            f"{seconds:.1f} seconds, at most {limits.audio_seconds:g} are read",
            value=seconds,
            threshold=limits.audio_seconds,
        )
