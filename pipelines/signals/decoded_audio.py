"""Decodes a recording once, block by block, for all scorers that measure audio."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile

from pipelines.signals.scorer import AudioMeter, SoundScorer, Values

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
    meters: dict[str, AudioMeter] = {}

    def attempt(name: str, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except Exception as error:  # a scorer may raise anything; the others go on
            failures[name] = error
            meters.pop(name, None)

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = file.samplerate, file.channels
            for scorer in scorers:
                if meter := attempt(scorer.name, scorer.start, rate, channels):
                    meters[scorer.name] = meter
            buffer = np.empty((max(1, _BLOCK_VALUES // channels), channels), np.float32)
            while len(block := file.read(out=buffer)):
                for name, meter in list(meters.items()):
                    attempt(name, meter.add, block)
    except (soundfile.SoundFileError, OSError, ValueError, OverflowError) as error:
        return {}, {scorer.name: error for scorer in scorers}
    for name, meter in list(meters.items()):
        values |= attempt(name, meter.result) or {}
    return values, failures
