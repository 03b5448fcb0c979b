"""Scores a batch of samples: each part is decoded once, and a failure costs only its own row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from pipelines.engine.crash_markers import CrashMarkers
from pipelines.signals.decoded_audio import measure_audio
from pipelines.signals.decoded_image import KeptImages, decode_reduced, measure_image
from pipelines.signals.scorer import AudioScorer, BatchScorer, ImageScorer, Scorer, Values
from store.errors import EncoderError, RecordError
from store.isolate import isolate_failures
from store.tables import schema

_TYPES = {f.name: f.type for f in schema.SIGNALS}
_Measured = tuple[Values, dict[str, Exception]]  # values by column; failures by scorer
_MAX_ERROR = 300  # characters of a message in the ledger


@dataclass
class Scored:
    """The scores of a batch.

    Attributes:
        columns: of `schema.SIGNALS`, by name, as many rows as the batch.
        failed: for each failure the row, the scorer's name and the error.
    """

    columns: dict[str, pa.Array] = field(default_factory=dict)
    failed: list[tuple[int, str, RecordError]] = field(default_factory=list)


def score(
    batch: pa.RecordBatch, scorers: Sequence[Scorer], kept: KeptImages | None = None
) -> Scored:
    """Run scorers on a batch.

    If a scorer raises for a row, its columns are null in that row.

    Args:
        batch: rows of `samples`, with the columns that the scorers read.
        kept: images that were decoded before; images that are decoded now are added to it.

    Raises:
        EncoderError: the model of a scorer does not work at all.
    """
    done = Scored()
    for scorer in scorers:
        if isinstance(scorer, BatchScorer):
            _by_columns(scorer, batch, done)
    image_scorers = [s for s in scorers if isinstance(s, ImageScorer)]
    audio_scorers = [s for s in scorers if isinstance(s, AudioScorer)]
    if image_scorers:

        def of_image(image_id: str, data: bytes) -> _Measured:
            decode = partial(kept.decode, image_id) if kept else decode_reduced
            return measure_image(data, image_scorers, decode)

        _by_parts("image", batch, image_scorers, of_image, done)
    if audio_scorers:
        _by_parts("audio", batch, audio_scorers, lambda _, b: measure_audio(b, audio_scorers), done)
    return done


def score_skipping_crashes(
    batch: pa.RecordBatch,
    scorers: Sequence[Scorer],
    markers: CrashMarkers,
    kept: KeptImages | None = None,
) -> Scored:
    """Run scorers on a batch, and skip the rows at which processes have died.

    If no process has died over the unit yet, the batch is scored as a whole. Otherwise each scorer
    runs on each row by itself, with a crash marker, so that a further death is counted for this
    scorer and row. A row that is skipped has failed.

    Raises:
        EncoderError: as `score`.
    """
    if not markers.deaths:
        markers.at("a batch")
        return score(batch, scorers, kept)
    done = Scored()
    for scorer in scorers:
        pieces: list[dict[str, pa.Array]] = []
        for row in range(batch.num_rows):
            piece = _one_row(batch.slice(row, 1), scorer, markers, kept)
            pieces.append(piece.columns)
            done.failed += [(row, name, error) for _, name, error in piece.failed]
        for name in scorer.gives:
            done.columns[name] = pa.concat_arrays([piece[name] for piece in pieces])
    return done


def _one_row(
    row: pa.RecordBatch, scorer: Scorer, markers: CrashMarkers, kept: KeptImages | None
) -> Scored:
    record = f"{scorer.name} {row['id'][0].as_py()}"
    if not markers.is_deadly(record):
        markers.at(record)
        return score(row, [scorer], kept)
    message = "crashed: the process of the scorer died repeatedly at this sample"
    error = RecordError(f"signals.{scorer.name}", message)
    return Scored({n: pa.nulls(1, _TYPES[n]) for n in scorer.gives}, [(0, scorer.name, error)])


def _by_columns(scorer: BatchScorer, batch: pa.RecordBatch, done: Scored) -> None:
    """The scorer's columns. A row for which it raises alone is a failure, with nulls."""

    def run(start: int, stop: int) -> dict[str, pa.Array]:
        columns = scorer.score(batch.slice(start, stop - start))
        return {n: _plain(columns[n]).cast(_TYPES[n]) for n in scorer.gives}

    pieces: list[dict[str, pa.Array]] = []
    for start, columns in isolate_failures(batch.num_rows, run, fatal=(EncoderError,)):
        if isinstance(columns, Exception):
            done.failed.append((start, scorer.name, _failure(scorer.name, columns)))
            columns = {n: pa.nulls(1, _TYPES[n]) for n in scorer.gives}
        pieces.append(columns)
    for name in scorer.gives:
        done.columns[name] = pa.concat_arrays([piece[name] for piece in pieces])


def _by_parts(
    part: str,
    batch: pa.RecordBatch,
    scorers: Sequence[Any],
    measure: Callable[[str, bytes], _Measured],
    done: Scored,
) -> None:
    """Run the scorers of one modality. A part that several rows share is measured once."""
    values: list[Values] = [{}] * batch.num_rows
    rows_of: dict[str, list[int]] = {}
    for row, part_id in enumerate(batch[f"{part}_id"].to_pylist()):
        if part_id is not None:
            rows_of.setdefault(part_id, []).append(row)
    for part_id, rows in rows_of.items():
        measured, failures = measure(part_id, batch[part][rows[0]].as_py())
        for error in failures.values():
            if isinstance(error, EncoderError):
                raise error
        for row in rows:
            values[row] = measured
            done.failed += [(row, name, _failure(name, e)) for name, e in failures.items()]
    for name in (name for s in scorers for name in s.gives):
        done.columns[name] = pa.array([v.get(name) for v in values], _TYPES[name])


def _failure(name: str, error: Exception) -> RecordError:
    message = str(error) if isinstance(error, RecordError) else f"{type(error).__name__}: {error}"
    return RecordError(f"signals.{name}", message[:_MAX_ERROR])


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
