"""Scoring a batch whose unit has taken a process down: row by row, scorer by scorer, with crumbs.

What a scorer dies over twice is left unmeasured by that scorer, and by no other.
"""

from collections.abc import Sequence

import pyarrow as pa

from pipelines.crumbs import Crumbs
from pipelines.signals.score import Scored, score
from pipelines.signals.scorer import Scorer
from store import schema
from store.errors import RecordError


def score_carefully(batch: pa.RecordBatch, scorers: Sequence[Scorer], crumbs: Crumbs) -> Scored:
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


def _one(row: pa.RecordBatch, scorer: Scorer, crumbs: Crumbs) -> Scored:
    place = f"{scorer.name} {row['id'][0].as_py()}"
    if not crumbs.is_deadly(place):
        crumbs.at(place)
        return score(row, [scorer])
    said = "crashed: its process died over it, time and again"
    error = RecordError(f"signals.{scorer.name}", said)
    nulls = {name: pa.nulls(1, schema.SIGNALS.field(name).type) for name in scorer.gives}
    return Scored(nulls, [(0, scorer.name, error)])
