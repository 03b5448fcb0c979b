"""Corrected search over one gallery: a dot-product search over served vectors.

Where every input is compared with the same vector column, which is wherever no correction moves
vectors, one search gives the exact answer. A query mixed of inputs that are compared with different
columns is answered by the threshold algorithm (Fagin, Lotem and Naor 2003): the best rows of each
column are fetched and scored in full; a row that no column gave scores at most the sum of the worst
that each gave, so once the k-th score reaches that sum, nothing outside can enter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lancedb
import numpy as np
import pyarrow as pa

from store.arrays import as_matrix
from store.errors import InputError, NotFoundError
from store.search.vector_layout import query_vector, unfold
from store.tables.releases import Direction

ROW = "_rowid"
_FIRST = 64
_GROWTH = 4
_MOST = 20_000  # rows fetched of each column before an answer is given unproven


@dataclass(frozen=True)
class Weighted:
    """One input of a query: its modality, its unit vector, its share of the score."""

    modality: str
    vector: np.ndarray
    weight: float


@dataclass(frozen=True)
class ColumnQuery:
    """What is asked of one vector column: `vector`'s product with a row, plus `offset`."""

    column: str
    vector: np.ndarray
    offset: float


@dataclass(frozen=True)
class RankedRows:
    """Rows of a gallery, best first, with `_score`, `_raw_score`, `_bias`, and the columns asked
    for. `complete` is true where they are proven to be the best there are."""

    rows: pa.Table
    complete: bool
    fetched: int


def combine(inputs: list[Weighted]) -> np.ndarray:
    """The vector (d,) whose product with g is the weighted sum of the inputs' raw scores."""
    weighted = np.stack([i.weight * i.vector for i in inputs])
    return weighted.sum(axis=0, dtype=np.float32)


def fetch(
    table: lancedb.table.Table, lane: ColumnQuery, count: int, columns: list[str], where: str | None
) -> pa.Table:
    """The `count` best rows of a lane among those that satisfy `where`: `columns`, then `_lane`,
    their score in it.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
    """
    query = (
        table.search(lane.vector, vector_column_name=lane.column)
        .distance_type("dot")
        .select([*(c for c in columns if c != ROW), "_distance"])
        .with_row_id(ROW in columns)
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
        hidden = ("vector", "thumbnail")
        known = ", ".join(n for n in table.schema.names if not n.startswith(hidden))
        raise InputError(f"where={where!r} cannot be used: {shown}; columns: {known}") from None
    score = 1 - rows["_distance"].to_numpy() + np.float32(lane.offset)
    return rows.drop_columns(["_distance"]).append_column("_lane", pa.array(score))


def corrected(
    table: lancedb.table.Table,
    inputs: list[Weighted],
    ways: Mapping[str, Direction],
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """The `limit` best rows by sum of weight * (corrected score), exact where `complete`.

    `ways` maps modalities to their corrections that are compiled into this gallery; inputs of
    modalities that it lacks are not corrected.
    """
    active = [
        i.modality
        for i in inputs
        if i.modality in ways and applies(table, i, ways[i.modality], where)
    ]
    lanes = _lanes(inputs, ways, active)
    if [lane.column for lane in lanes] == ["vector"]:
        biases = {m: f"bias_{m}" for m in active}
        read = list(dict.fromkeys([*columns, *biases.values()]))
        rows = fetch(table, lanes[0], limit, read, where)
        bias = np.zeros(rows.num_rows, np.float32)
        for i in inputs:
            if i.modality in active:
                bias += np.float32(i.weight) * rows[biases[i.modality]].to_numpy()
        score = rows["_lane"].to_numpy()
        return RankedRows(ranked(rows, score, score + bias, columns, limit), True, rows.num_rows)
    return _over_lanes(table, lanes, combine(inputs), columns, where, limit)


def vector_column(modality: str, ways: Mapping[str, Direction]) -> str:
    """The vector column that queries of a modality are compared with."""
    moved = modality in ways and ways[modality].recipe.moves
    return f"vector_{modality}" if moved else "vector"


def applies(table: lancedb.table.Table, given: Weighted, way: Direction, where: str | None) -> bool:
    """Whether a bias is taken off this input: by dynamic methods where its top item is a hub."""
    if not way.recipe.dynamic:
        return True
    column, flag = vector_column(given.modality, {given.modality: way}), f"hub_{given.modality}"
    top = fetch(table, ColumnQuery(column, query_vector(given.vector, {}), 0.0), 1, [flag], where)
    return bool(top.num_rows and top[flag][0].as_py())


def _lanes(
    inputs: list[Weighted], ways: Mapping[str, Direction], active: Sequence[str]
) -> list[ColumnQuery]:
    """What the query asks of each vector column that it needs."""
    by_column: dict[str, list[Weighted]] = {}
    for i in inputs:
        by_column.setdefault(vector_column(i.modality, ways), []).append(i)
    lanes = []
    for column, members in by_column.items():
        weights = {i.modality: i.weight for i in members if i.modality in active}
        offset = -sum(w * ways[m].centre for m, w in weights.items())
        lanes.append(ColumnQuery(column, query_vector(combine(members), weights), offset))
    return lanes


def _over_lanes(
    table: lancedb.table.Table,
    lanes: list[ColumnQuery],
    raw_vector: np.ndarray,
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    vectors = list(dict.fromkeys(["vector", *(lane.column for lane in lanes)]))
    read = list(dict.fromkeys([*columns, *vectors, ROW]))
    total = table.count_rows()
    count = min(total, max(_FIRST, limit))
    while True:
        fetched = [fetch(table, lane, max(count, 1), read, where) for lane in lanes]
        rows = _once(fetched)
        score = np.zeros(rows.num_rows, np.float32)
        for lane in lanes:
            score += as_matrix(rows[lane.column]) @ lane.vector + np.float32(lane.offset)
        short = any(f.num_rows < count for f in fetched)  # a lane that is exhausted gave every row
        complete = short or count >= total
        if not complete:
            outside = sum(float(f["_lane"].to_numpy().min()) for f in fetched)
            complete = bool(np.partition(score, -limit)[-limit] >= outside)
        if complete or count >= _MOST:
            break
        count = min(total, _GROWTH * count, _MOST)
    raw = unfold(as_matrix(rows["vector"]), raw_vector.shape[0]) @ raw_vector
    return RankedRows(ranked(rows, score, raw, columns, limit), complete, rows.num_rows)


def _once(fetched: list[pa.Table]) -> pa.Table:
    """The rows of all lanes, each row once."""
    rows = pa.concat_tables([f.drop_columns(["_lane"]) for f in fetched])
    if len(fetched) == 1:
        return rows
    _, first = np.unique(rows[ROW].to_numpy(), return_index=True)
    return rows.take(pa.array(first))


def ranked(
    rows: pa.Table, score: np.ndarray, raw: np.ndarray, columns: list[str], limit: int
) -> pa.Table:
    """The `limit` best rows by `score` with their scores, then `columns`."""
    order = np.argsort(-score, kind="stable")[:limit]
    chosen = rows.select(columns).take(pa.array(order))
    scores = [("_score", score), ("_raw_score", raw), ("_bias", raw - score)]
    for place, (name, values) in enumerate(scores):
        chosen = chosen.add_column(place, name, pa.array(values[order].astype(np.float32)))
    return chosen


def check_columns(table: lancedb.table.Table, columns: list[str]) -> None:
    """Raise NotFoundError for a column that the gallery does not have."""
    known = [n for n in table.schema.names if not n.startswith("vector")]
    for column in columns:
        if column not in known:
            raise NotFoundError(f"no column {column!r}; columns: {', '.join(known)}")
