"""Corrected search over one gallery: rank by q.g - bias without scoring every row twice.

The table is asked for its best rows by raw score, more of them than are wanted; these are
rescored with the stored bias. Let t be the worst raw score fetched and b the least bias of the
whole gallery: a row that was not fetched scores at most t - b, so once the k-th corrected score
is above that, the answer is the exact one and no more rows are fetched.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import InputError, NotFoundError

_OVERFETCH = 4
_GROWTH = 4
_FEWEST = 64


@dataclass(frozen=True)
class Weighted:
    """One input of a query: its modality, its unit vector, its share of the score."""

    modality: str
    vector: np.ndarray
    weight: float


@dataclass(frozen=True)
class Found:
    """Rows of a gallery, best first, with `_score`, `_raw_score`, `_bias`, and the columns asked
    for. `complete` is true where they are proven to be the best there are."""

    rows: pa.Table
    complete: bool
    fetched: int


def combine(inputs: list[Weighted]) -> np.ndarray:
    """The vector whose product with g is the weighted sum of the inputs' raw scores."""
    weighted = np.stack([i.weight * i.vector for i in inputs])
    return weighted.sum(axis=0, dtype=np.float32)


def fetch(
    table: lancedb.table.Table,
    vector: np.ndarray,
    count: int,
    columns: list[str],
    where: str | None,
) -> pa.Table:
    """The `count` best rows by raw score among those that satisfy `where`, with `_raw_score`.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
    """
    query = (
        table.search(vector, vector_column_name="vector")
        .distance_type("dot")
        .select([*columns, "_distance"])
        .limit(count)
    )
    if where is not None:
        query = query.where(where, prefilter=True)
    try:
        rows = query.to_arrow()
    except Exception as error:  # the engine raises its own types for whatever is wrong with SQL
        if where is None:
            raise
        shown = str(error).splitlines()[0][:200]
        known = ", ".join(n for n in table.schema.names if n not in ("vector", "thumbnail"))
        raise InputError(f"where={where!r} cannot be used: {shown}; columns: {known}") from None
    raw = pc.subtract(pa.scalar(1.0, pa.float32()), rows["_distance"])
    return rows.drop_columns(["_distance"]).append_column("_raw_score", raw)


def corrected(
    table: lancedb.table.Table,
    inputs: list[Weighted],
    min_bias: Mapping[str, float],
    columns: list[str],
    where: str | None,
    limit: int,
) -> Found:
    """The `limit` best rows by sum of weight * (score - bias of that input's modality).

    `min_bias` maps each modality whose stored bias applies to the least value of that bias;
    modalities that it lacks are not corrected.
    """
    vector = combine(inputs)
    weights = {i.modality: 0.0 for i in inputs if i.modality in min_bias}
    for i in inputs:
        if i.modality in weights:
            weights[i.modality] += i.weight
    floor = sum(w * min_bias[m] for m, w in weights.items())
    read = list(dict.fromkeys([*columns, *(f"bias_{m}" for m in weights)]))
    total = table.count_rows()
    count = min(total, limit if not weights else max(_FEWEST, _OVERFETCH * limit))
    while True:
        rows = fetch(table, vector, max(count, 1), read, where)
        bias = np.zeros(rows.num_rows, np.float32)
        for modality, weight in weights.items():
            bias += np.float32(weight) * rows[f"bias_{modality}"].to_numpy()
        raw = rows["_raw_score"].to_numpy()
        score = raw - bias
        order = np.argsort(-score, kind="stable")[:limit]
        exhausted = rows.num_rows < count or count >= total
        if exhausted or not weights:
            break
        if raw.min() - floor <= score[order[-1]]:
            break
        count = min(total, _GROWTH * count)
    return Found(ranked(rows, score, raw, bias, order, columns), True, rows.num_rows)


def ranked(
    rows: pa.Table,
    score: np.ndarray,
    raw: np.ndarray,
    bias: np.ndarray,
    order: np.ndarray,
    columns: list[str],
) -> pa.Table:
    """The rows of `order` with their scores, then `columns`."""
    chosen = rows.select(columns).take(pa.array(order))
    scores = [("_score", score), ("_raw_score", raw), ("_bias", bias)]
    for place, (name, values) in enumerate(scores):
        chosen = chosen.add_column(place, name, pa.array(values[order].astype(np.float32)))
    return chosen


def check_columns(table: lancedb.table.Table, columns: list[str]) -> None:
    """Raise NotFoundError for a column that the gallery does not have."""
    known = [n for n in table.schema.names if n != "vector"]
    for column in columns:
        if column not in known:
            raise NotFoundError(f"no column {column!r}; columns: {', '.join(known)}")
