"""Sound: WAV, FLAC, Ogg (Vorbis, Opus) and MP3, known by their first bytes, read by libsndfile."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soundfile

from pipelines.sources.records import check_size
from store.config import Limits
from store.errors import RecordError

_FORMATS = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}
_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_FRAMES = 1 << 62
_UNKNOWN_SIZE = 0xFFFFFF00  # what a recorder writes that cannot go back to fill it in
_OGG_LAST_PAGE = 4


@dataclass(frozen=True)
class AudioInfo:
    """`format` is wav, flac, ogg or mp3; `seconds` are counted from what was decoded."""

    format: str
    seconds: float
    sample_rate: int
    channels: int


def read_audio(data: bytes, limits: Limits) -> AudioInfo:
    """Checks a recording and decodes all of it, block by block.

    Raises RecordError: `audio.empty` (no bytes, or no frames), `audio.bytes`, `audio.format`,
    `audio.seconds` (before decoding where the header tells), `audio.truncated`,
    `audio.not_finite` (a sample is NaN or infinite), `audio.broken`.
    """
    check_size("audio", len(data), limits)
    if not data:
        raise RecordError("audio.empty", "no bytes at all")
    if not _is_known(data):
        message = f"not one of wav, flac, ogg, mp3; it begins with {data[:8]!r}"
        raise RecordError("audio.format", message)
    if _is_cut(data):
        raise RecordError("audio.truncated", "the file ends before its own length or end mark")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            return _decode(sound, limits)
    except (soundfile.SoundFileError, OSError, ValueError, OverflowError) as error:
        raise RecordError("audio.broken", str(error)[:200]) from error


def _decode(sound: soundfile.SoundFile, limits: Limits) -> AudioInfo:
    rate, channels = sound.samplerate, sound.channels
    if sound.format not in _FORMATS:
        raise RecordError("audio.format", f"{sound.format} is not read")
    if rate <= 0 or channels <= 0:
        raise RecordError("audio.broken", f"{channels} channels at {rate} Hz")
    promised = sound.frames if sound.frames < _UNKNOWN_FRAMES else 0
    _check_seconds(promised / rate, limits)
    block = np.empty((max(1, _BLOCK_SAMPLES // channels), channels), np.float32)
    frames = 0
    while len(read := sound.read(out=block)):
        frames += len(read)
        _check_seconds(frames / rate, limits)
        if not np.isfinite(read).all():
            raise RecordError("audio.not_finite", "a sample is NaN or infinite")
    if frames < promised:
        raise RecordError("audio.truncated", f"{frames} of {promised} frames are there")
    if frames == 0:
        raise RecordError("audio.empty", "no frames")
    return AudioInfo(_FORMATS[sound.format], frames / rate, rate, channels)


def _check_seconds(seconds: float, limits: Limits) -> None:
    if seconds > limits.audio_seconds:
        raise RecordError(
            "audio.seconds",
            f"{seconds:.1f} seconds, at most {limits.audio_seconds:g} are read",
            value=seconds,
            threshold=limits.audio_seconds,
        )


def _is_known(data: bytes) -> bool:
    if data.startswith((b"RIFF", b"RIFX", b"RF64")):
        return data[8:12] == b"WAVE"
    is_mp3_frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    return data.startswith((b"fLaC", b"OggS", b"ID3")) or is_mp3_frame


def _is_cut(data: bytes) -> bool:
    """Where libsndfile would take a shorter file for a shorter recording."""
    if data.startswith(b"OggS"):
        return _ogg_is_cut(data)
    return data.startswith((b"RIFF", b"RIFX", b"RF64")) and _wav_is_cut(data)


def _wav_is_cut(data: bytes) -> bool:
    order: Literal["little", "big"] = "big" if data.startswith(b"RIFX") else "little"
    place, long_size = 12, _UNKNOWN_SIZE
    while place + 8 <= len(data):
        name = data[place : place + 4]
        size = int.from_bytes(data[place + 4 : place + 8], order)
        if name == b"ds64":  # holds what the 32 bits of the data's own header cannot
            long_size = int.from_bytes(data[place + 16 : place + 24], order)
        if name == b"data":
            expected = long_size if data.startswith(b"RF64") else size
            return expected < _UNKNOWN_SIZE and place + 8 + expected > len(data)
        place += 8 + size + size % 2
    return True


def _ogg_is_cut(data: bytes) -> bool:
    page = data.rfind(b"OggS")
    header = data[page : page + 27]
    if len(header) < 27:
        return True
    lengths = data[page + 27 : page + 27 + header[26]]
    end = page + 27 + header[26] + sum(lengths)
    return len(lengths) < header[26] or end > len(data) or not header[5] & _OGG_LAST_PAGE
