"""Recordings of a batch, each decoded once, block by block, for all scorers that listen."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile

from pipelines.signals.scorer import Listener, SoundScorer, Values

_BLOCK_SAMPLES = 1 << 18


def measure_sound(
    data: bytes, scorers: Sequence[SoundScorer]
) -> tuple[Values, dict[str, Exception]]:
    """The values of one recording, and what went wrong by scorer."""
    failed: dict[str, Exception] = {}
    listening: dict[str, Listener] = {}
    values: dict = {}

    def attempt(name: str, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except Exception as error:  # whatever a scorer raises costs this record alone
            failed[name] = error
            listening.pop(name, None)

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            rate, channels = sound.samplerate, sound.channels
            for s in scorers:
                if listener := attempt(s.name, s.listen, rate, channels):
                    listening[s.name] = listener
            room = np.empty((max(1, _BLOCK_SAMPLES // channels), channels), np.float32)
            while len(block := sound.read(out=room)):
                for name, listener in list(listening.items()):
                    attempt(name, listener.hear, block)
    except (soundfile.SoundFileError, OSError, ValueError, OverflowError) as error:
        return {}, {s.name: error for s in scorers}
    for name, listener in list(listening.items()):
        values |= attempt(name, listener.result) or {}
    return values, failed
