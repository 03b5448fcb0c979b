"""Decodes a recording once, block by block, for all scorers that measure audio."""

from collections.abc import Callable, Sequence
from typing import Any

from embedders.media.audio import open_audio, read_blocks
from pipelines.signals.scorer import AudioMeter, AudioScorer, Values
from store.errors import RecordError


def measure_audio(
    data: bytes, scorers: Sequence[AudioScorer]
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
        with open_audio(data) as sound:
            for scorer in scorers:
                if meter := attempt(scorer.name, scorer.start, sound.samplerate, sound.channels):
                    meters[scorer.name] = meter
            for block in read_blocks(sound):
                for name, meter in list(meters.items()):
                    attempt(name, meter.add, block)
    except RecordError as error:
        return {}, {scorer.name: error for scorer in scorers}
    for name, meter in list(meters.items()):
        values |= attempt(name, meter.result) or {}
    return values, failures
