"""The length and format of a recording, copied from `samples`, where reading has stored them."""

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from store.tables.signals import SCORERS

_COLUMNS = SCORERS["audio_length"].names  # `samples` has them under the same names


def score(batch: pa.RecordBatch) -> Columns:
    """Seconds, sample rate in Hz, channels, bytes and format."""
    return {c: batch[c] for c in _COLUMNS}


LENGTH = BatchScorer("audio_length", _COLUMNS, _COLUMNS, score)
