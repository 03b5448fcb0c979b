"""Decode audio: check recordings as delivered, and load them for encoders.

WAV, FLAC, Ogg (Vorbis, Opus) and MP3 are read, recognised by their first bytes. libsndfile decodes
and soxr resamples. Recordings are decoded in blocks, so a caller that has enough can stop early.
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
MAX_RATE = 768_000  # Hz
_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_FRAMES = 1 << 62  # libsndfile reports a number above this if the header has none
_UNKNOWN_SIZE = 0xFFFFFF00  # recorders that cannot rewrite the header leave a size above this
_OGG_LAST_PAGE = 4  # a flag of the page header


@dataclass(frozen=True)
class AudioInfo:
    """Facts about a checked recording.

    Attributes:
        format: wav, flac, ogg or mp3.
        seconds: the playing time, counted from the decoded frames.
        sample_rate: in Hz.
        channels: the number of channels.
    """

    format: str
    seconds: float
    sample_rate: int
    channels: int


@contextmanager
def open_audio(data: bytes) -> Iterator[soundfile.SoundFile]:
    """Read a recording's header. Its frames can be decoded within the block.

    Raises:
        RecordError: `audio.empty` (no bytes), `audio.format`, `audio.truncated`, `audio.broken`.
    """
    if not data:
        raise RecordError("audio.empty", "the file has no bytes")
    if not _has_known_format(data):
        message = f"not one of wav, flac, ogg, mp3; it begins with {data[:8]!r}"
        raise RecordError("audio.format", message)
    if _is_truncated(data):
        raise RecordError("audio.truncated", "the file ends before its own length or end mark")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            if sound.format not in FORMATS:
                message = f"{sound.format} is not one of {', '.join(FORMATS)}"
                raise RecordError("audio.format", message)
            if sound.samplerate <= 0 or sound.channels <= 0:
                message = f"the header has {sound.channels} channels at {sound.samplerate} Hz"
                raise RecordError("audio.broken", message)
            yield sound
    except (soundfile.SoundFileError, OSError, ValueError, OverflowError) as error:
        raise RecordError("audio.broken", str(error)[:200]) from error


def declared_frames(sound: soundfile.SoundFile) -> int:
    """The number of frames that the header declares; 0 if it declares none."""
    return sound.frames if sound.frames < _UNKNOWN_FRAMES else 0


def read_blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Decode a recording block by block, from its present position.

    Yields:
        Float32 (frames, channels). The next block overwrites it.

    Raises:
        RecordError: `audio.not_finite` (a sample is NaN or infinite).
    """
    buffer = np.empty((max(1, _BLOCK_SAMPLES // sound.channels), sound.channels), np.float32)
    while len(block := sound.read(out=buffer)):
        if not np.isfinite(block).all():
            raise RecordError("audio.not_finite", "a sample is NaN or infinite")
        yield block


def read_audio(data: bytes, limits: Limits) -> AudioInfo:
    """Check a recording and decode all of it, block by block.

    Args:
        data: the recording as delivered.
        limits: the largest sizes that are read.

    Raises:
        RecordError: `audio.bytes`, `audio.seconds` (before decoding if the header declares a
            length), `audio.empty` (no bytes, or no frames), `audio.truncated`, and the rules of
            `open_audio` and `read_blocks`.
    """
    limits.check("audio", len(data))
    with open_audio(data) as sound:
        rate, promised = sound.samplerate, declared_frames(sound)
        _check_seconds(promised / rate, limits)
        frames = 0
        for block in read_blocks(sound):
            frames += len(block)
            _check_seconds(frames / rate, limits)
        if frames < promised:
            message = f"it has {frames} of the {promised} frames that its header declares"
            raise RecordError("audio.truncated", message)
        if frames == 0:
            raise RecordError("audio.empty", "the recording has no frames")
        return AudioInfo(FORMATS[sound.format], frames / rate, rate, sound.channels)


def load_mono(raw: bytes | str | Path, rate: int, max_seconds: float) -> np.ndarray:
    """Load the beginning of a recording with its channels averaged.

    Args:
        raw: encoded bytes, or a path.
        rate: of the result, in Hz.
        max_seconds: what comes later is not decoded.

    Returns:
        Float32 (n,), `rate` samples a second.

    Raises:
        RecordError: the rules of `open_audio` and `read_blocks`, `audio.empty` (no frames),
            `audio.rate` (more than 768 kHz).
    """
    import soxr

    with open_audio(raw if isinstance(raw, bytes) else Path(raw).read_bytes()) as sound:
        source_rate = sound.samplerate
        if source_rate > MAX_RATE:
            message = f"{source_rate} Hz, at most {MAX_RATE} are read"
            raise RecordError("audio.rate", message, value=source_rate, threshold=MAX_RATE)
        max_frames = int(np.ceil(max_seconds * source_rate))
        pieces: list[np.ndarray] = []
        frames = 0
        for block in read_blocks(sound):
            pieces.append(block.mean(axis=1))
            frames += len(block)
            if frames >= max_frames:
                break
    if not frames:
        raise RecordError("audio.empty", "the recording has no frames")
    mono = np.concatenate(pieces)[:max_frames]
    return soxr.resample(mono, source_rate, rate).astype(np.float32, copy=False)


def _check_seconds(seconds: float, limits: Limits) -> None:
    """Raise RecordError `audio.seconds`, as a rejection, if a recording is too long."""
    if seconds > limits.audio_seconds:
        raise RecordError(
            "audio.seconds",
            f"{seconds:.1f} seconds, at most {limits.audio_seconds:g} are read",
            value=seconds,
            threshold=limits.audio_seconds,
        )


def _has_known_format(data: bytes) -> bool:
    if data.startswith((b"RIFF", b"RIFX", b"RF64")):
        return data[8:12] == b"WAVE"
    is_mp3_frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    return data.startswith((b"fLaC", b"OggS", b"ID3")) or is_mp3_frame


def _is_truncated(data: bytes) -> bool:
    """Whether a WAV or Ogg file is cut off.

    libsndfile would read such a file as a shorter recording, without an error.
    """
    if data.startswith(b"OggS"):
        return _is_truncated_ogg(data)
    return data.startswith((b"RIFF", b"RIFX", b"RF64")) and _is_truncated_wav(data)


def _is_truncated_wav(data: bytes) -> bool:
    byte_order: Literal["little", "big"] = "big" if data.startswith(b"RIFX") else "little"
    offset, long_size = 12, _UNKNOWN_SIZE
    while offset + 8 <= len(data):
        chunk = data[offset : offset + 4]
        size = int.from_bytes(data[offset + 4 : offset + 8], byte_order)
        if chunk == b"ds64":  # of an RF64 file: the 64-bit size of the data chunk
            long_size = int.from_bytes(data[offset + 16 : offset + 24], byte_order)
        if chunk == b"data":
            expected = long_size if data.startswith(b"RF64") else size
            return expected < _UNKNOWN_SIZE and offset + 8 + expected > len(data)
        offset += 8 + size + size % 2
    return True


def _is_truncated_ogg(data: bytes) -> bool:
    page = data.rfind(b"OggS")
    header = data[page : page + 27]
    if len(header) < 27:
        return True
    segments = header[26]
    lengths = data[page + 27 : page + 27 + segments]
    end = page + 27 + segments + sum(lengths)
    return len(lengths) < segments or end > len(data) or not header[5] & _OGG_LAST_PAGE
