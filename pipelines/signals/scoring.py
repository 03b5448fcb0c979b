"""Scoring a batch of samples: every part decoded once, and what goes wrong costs its row alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.engine.crash_markers import CrashMarkers
from pipelines.signals.decoded_audio import measure_sound
from pipelines.signals.decoded_image import measure_picture
from pipelines.signals.scorer import BatchScorer, PictureScorer, Scorer, SoundScorer, Values
from store.errors import EncoderError, RecordError
from store.isolate import isolate_failures
from store.tables import schema

_TYPES = {f.name: f.type for f in schema.SIGNALS}


@dataclass
class Scored:
    """Columns of `schema.SIGNALS`, and the failures: row, scorer's name, what it raised."""

    columns: dict[str, pa.Array] = field(default_factory=dict)
    failed: list[tuple[int, str, RecordError]] = field(default_factory=list)


def score(batch: pa.RecordBatch, scorers: Sequence[Scorer]) -> Scored:
    """Every scorer's columns for a batch of `samples` rows.

    Raises EncoderError where a scorer's model does not work at all; whatever else it raises for a
    row leaves that row's columns null.
    """
    done = Scored()
    for scorer in scorers:
        if isinstance(scorer, BatchScorer):
            _by_columns(scorer, batch, done)
    pictures = [s for s in scorers if isinstance(s, PictureScorer)]
    sounds = [s for s in scorers if isinstance(s, SoundScorer)]
    if pictures:
        _by_parts("image", batch, pictures, measure_picture, done)
    if sounds:
        _by_parts("audio", batch, sounds, measure_sound, done)
    return done


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
    measure: Callable[[bytes, Any], tuple[Values, dict[str, Exception]]],
    done: Scored,
) -> None:
    """The columns of scorers that look at one part; a part that rows share is looked at once."""
    rows: list[Values] = [{}] * batch.num_rows
    encoded = batch[f"{part}_id"].dictionary_encode().indices.fill_null(-1).to_numpy()
    for code in range(encoded.max(initial=-1) + 1):
        places = np.flatnonzero(encoded == code).tolist()
        values, failed = measure(batch[part][places[0]].as_py(), scorers)
        for error in failed.values():
            if isinstance(error, EncoderError):
                raise error
        for place in places:
            rows[place] = values
            done.failed += [(place, name, _failure(name, e)) for name, e in failed.items()]
    for name in (name for s in scorers for name in s.gives):
        done.columns[name] = pa.array([r.get(name) for r in rows], _TYPES[name])


def _failure(name: str, error: Exception) -> RecordError:
    said = str(error) if isinstance(error, RecordError) else f"{type(error).__name__}: {error}"
    return RecordError(f"signals.{name}", said[:300])


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def score_carefully(
    batch: pa.RecordBatch, scorers: Sequence[Scorer], crumbs: CrashMarkers
) -> Scored:
    """As `score` does; one by one where processes have died over this unit.

    Raises EncoderError as `score` does.
    """
    if not crumbs.deaths:
        crumbs.at("a batch")
        return score(batch, scorers)
    done = Scored()
    for scorer in scorers:
        pieces: list[dict[str, pa.Array]] = []
        for row in range(batch.num_rows):
            piece = _one(batch.slice(row, 1), scorer, crumbs)
            pieces.append(piece.columns)
            done.failed += [(row, name, error) for _, name, error in piece.failed]
        for name in scorer.gives:
            done.columns[name] = pa.concat_arrays([piece[name] for piece in pieces])
    return done


def _one(row: pa.RecordBatch, scorer: Scorer, crumbs: CrashMarkers) -> Scored:
    place = f"{scorer.name} {row['id'][0].as_py()}"
    if not crumbs.is_deadly(place):
        crumbs.at(place)
        return score(row, [scorer])
    said = "crashed: its process died over it, time and again"
    error = RecordError(f"signals.{scorer.name}", said)
    nulls = {name: pa.nulls(1, schema.SIGNALS.field(name).type) for name in scorer.gives}
    return Scored(nulls, [(0, scorer.name, error)])
