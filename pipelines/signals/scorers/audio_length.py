"""What was known of a recording since it was read."""

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns

_GIVES = ("audio_seconds", "audio_rate", "audio_channels", "audio_bytes", "audio_format")


def score(batch: pa.RecordBatch) -> Columns:
    """Seconds, sample rate in Hz, channels, bytes and format."""
    return {c: batch[c] for c in _GIVES}


LENGTH = BatchScorer("audio_length", _GIVES, _GIVES, score)
