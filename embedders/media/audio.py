"""Sound as it is decoded here: WAV, FLAC, Ogg (Vorbis, Opus) and MP3, known by their first bytes.

libsndfile decodes, soxr resamples. Nothing is decoded whole: blocks come one after another, and
who reads them stops when there is enough.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from store.config.limits import Limits
from store.errors import RecordError

FORMATS = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}
MAX_RATE = 768_000
_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_FRAMES = 1 << 62
_UNKNOWN_SIZE = 0xFFFFFF00  # what a recorder writes that cannot go back to fill it in
_OGG_LAST_PAGE = 4


@contextmanager
def open_sound(data: bytes) -> Iterator[soundfile.SoundFile]:
    """A recording, its header read and nothing decoded; to be decoded within the block.

    Raises RecordError: `audio.empty` (no bytes), `audio.format`, `audio.truncated`,
    `audio.broken`.
    """
    if not data:
        raise RecordError("audio.empty", "no bytes at all")
    if not _is_known(data):
        message = f"not one of wav, flac, ogg, mp3; it begins with {data[:8]!r}"
        raise RecordError("audio.format", message)
    if _is_cut(data):
        raise RecordError("audio.truncated", "the file ends before its own length or end mark")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            if sound.format not in FORMATS:
                raise RecordError("audio.format", f"{sound.format} is not read")
            if sound.samplerate <= 0 or sound.channels <= 0:
                said = f"{sound.channels} channels at {sound.samplerate} Hz"
                raise RecordError("audio.broken", said)
            yield sound
    except (soundfile.SoundFileError, OSError, ValueError, OverflowError) as error:
        raise RecordError("audio.broken", str(error)[:200]) from error


def promised_frames(sound: soundfile.SoundFile) -> int:
    """Frames that the header tells of; 0 where it does not tell."""
    return sound.frames if sound.frames < _UNKNOWN_FRAMES else 0


def blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Float32 (frames, channels) from here on, each good until the next is asked for.

    Raises RecordError: `audio.not_finite` (a sample is NaN or infinite).
    """
    block = np.empty((max(1, _BLOCK_SAMPLES // sound.channels), sound.channels), np.float32)
    while len(read := sound.read(out=block)):
        if not np.isfinite(read).all():
            raise RecordError("audio.not_finite", "a sample is NaN or infinite")
        yield read


def load_mono(raw: bytes | str | Path, rate: int, max_seconds: float) -> np.ndarray:
    """The beginning of a recording: float32 (n,), channels averaged, at `rate` samples a second.

    Args:
        raw: encoded bytes, or a path.
        rate: of the result, in Hz.
        max_seconds: what comes later is not decoded.

    Raises RecordError: those of `open_sound` and `blocks`, `audio.empty` (no frames),
    `audio.rate` (more than 768 kHz).
    """
    import soxr

    with open_sound(raw if isinstance(raw, bytes) else Path(raw).read_bytes()) as sound:
        own = sound.samplerate
        if own > MAX_RATE:
            said = f"{own} Hz, at most {MAX_RATE} are read"
            raise RecordError("audio.rate", said, value=own, threshold=MAX_RATE)
        wanted = int(np.ceil(max_seconds * own))
        pieces: list[np.ndarray] = []
        frames = 0
        for block in blocks(sound):
            pieces.append(block.mean(axis=1))
            frames += len(block)
            if frames >= wanted:
                break
    if not frames:
        raise RecordError("audio.empty", "no frames")
    return soxr.resample(np.concatenate(pieces)[:wanted], own, rate).astype(np.float32, copy=False)


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
    `embedders.media.audio.open_sound` and `blocks`.
    """
    limits.check("audio", len(data))
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
