"""Decodes a recording once, block by block, for all scorers that measure audio."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile

from pipelines.signals.scorer import Listener, SoundScorer, Values

_BLOCK_VALUES = 1 << 18  # frames times channels


def measure_sound(
    data: bytes, scorers: Sequence[SoundScorer]
) -> tuple[Values, dict[str, Exception]]:
    """Measure one recording.

    Args:
        data: the encoded file.

    Returns:
        The values by column, and the exceptions by the name of the scorer that failed. If the
        recording cannot be decoded to its end, there are no values and every scorer failed.
    """
    values: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    listeners: dict[str, Listener] = {}

    def attempt(name: str, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except Exception as error:  # a scorer may raise anything; the others go on
            failures[name] = error
            listeners.pop(name, None)

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = file.samplerate, file.channels
            for scorer in scorers:
                if listener := attempt(scorer.name, scorer.listen, rate, channels):
                    listeners[scorer.name] = listener
            buffer = np.empty((max(1, _BLOCK_VALUES // channels), channels), np.float32)
            while len(block := file.read(out=buffer)):
                for name, listener in list(listeners.items()):
                    attempt(name, listener.hear, block)
    except (soundfile.SoundFileError, OSError, ValueError, OverflowError) as error:
        return {}, {scorer.name: error for scorer in scorers}
    for name, listener in list(listeners.items()):
        values |= attempt(name, listener.result) or {}
    return values, failures
