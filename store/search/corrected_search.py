"""Corrected search of one gallery, as dot-product searches of its vector columns.

If all inputs are compared with the same vector column, one search gives the exact answer. This is
always the case when no correction moves vectors.

Otherwise the inputs are compared with different columns, and the threshold algorithm (Fagin, Lotem
and Naor 2003) is used: fetch the best rows of each column and compute their full scores. The score
of a row that was not fetched is at most the sum of the lowest scores fetched from each column. So
once the k-th best score reaches this sum, the first k rows are proven to be the best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.errors import InputError, NotFoundError
from store.search.vector_layout import query_vector, unfold
from store.tables.releases import Direction

ROW_ID = "_rowid"
_FIRST_ROWS = 64  # fetched of each column in the first round
_GROWTH = 4
_MAX_ROWS = 20_000  # fetched of each column before the answer is returned unproven
FLAT = {"metric": "dot", "use_index": False}


@dataclass(frozen=True)
class WeightedInput:
    """One input of a query: its modality, its unit vector (d,) and its weight in the score."""

    modality: str
    vector: np.ndarray
    weight: float


@dataclass(frozen=True)
class ColumnQuery:
    """A search of one vector column. The score of a row is `row @ vector + offset`."""

    column: str
    vector: np.ndarray
    offset: float


@dataclass(frozen=True)
class RankedRows:
    """Rows of a gallery, best first.

    Attributes:
        rows: `_score`, `_raw_score`, `_bias`, then the requested columns.
        complete: true if the rows are proven to be the best of the gallery.
        fetched: how many rows were scored.
    """

    rows: pa.Table
    complete: bool
    fetched: int


def combine(inputs: list[WeightedInput]) -> np.ndarray:
    """The vector (d,) whose dot product with an item is the weighted sum of the raw scores."""
    weighted = np.stack([i.weight * i.vector for i in inputs])
    return weighted.sum(axis=0, dtype=np.float32)


def fetch(
    table: lance.LanceDataset,
    query: ColumnQuery,
    count: int,
    columns: list[str],
    where: str | None,
) -> pa.Table:
    """Search one vector column.

    Returns:
        The `count` best rows that satisfy `where`: `columns`, then `_column_score`.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
        DamagedTableError: the gallery cannot be read.
    """
    wanted = [c for c in columns if c != ROW_ID]
    try:
        rows = table.scanner(
            columns=[*wanted, "_distance"],
            filter=where,
            prefilter=True,
            nearest={"column": query.column, "q": query.vector, "k": count, **FLAT},
            with_row_id=ROW_ID in columns,
        ).to_table()
    except (ValueError, OSError, RuntimeError) as error:  # Lance's errors for invalid SQL
        if where is None:
            raise
        message = str(error).splitlines()[0][:200]
        allowed = ", ".join(filter_columns(table))
        raise InputError(f"where={where!r} cannot be used: {message}; columns: {allowed}") from None
    score = 1 - rows["_distance"].to_numpy() + np.float32(query.offset)  # "dot" distance is 1 - dot
    return rows.drop_columns(["_distance"]).append_column("_column_score", pa.array(score))


def search_corrected(
    table: lance.LanceDataset,
    inputs: list[WeightedInput],
    directions: Mapping[str, Direction],
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """Search by the corrections that are compiled into a gallery.

    Args:
        table: the gallery.
        inputs: the query. Its score of a row is the sum of weight * (corrected score). Several
            inputs may have one modality.
        directions: the compiled correction for each modality of inputs. Inputs of other modalities
            are not corrected.
        columns: the gallery's columns to return.
        where: an SQL condition on the gallery's columns.
        limit: the largest number of rows to return.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
    """
    corrected = [
        i
        for i in inputs
        if i.modality in directions and bias_applies(table, i, directions[i.modality], where)
    ]
    queries = _column_queries(inputs, directions, corrected)
    if [query.column for query in queries] == ["vector"]:
        read = list(dict.fromkeys([*columns, *(f"bias_{i.modality}" for i in corrected)]))
        rows = fetch(table, queries[0], limit, read, where)
        bias = np.zeros(rows.num_rows, np.float32)
        for i in corrected:
            bias += np.float32(i.weight) * rows[f"bias_{i.modality}"].to_numpy()
        score = rows["_column_score"].to_numpy()
        best = rank_rows(rows, score, score + bias, columns, limit)
        return RankedRows(best, True, rows.num_rows)
    return _threshold_search(table, queries, combine(inputs), columns, where, limit)


def vector_column(modality: str, directions: Mapping[str, Direction]) -> str:
    """The vector column that queries of a modality are compared with."""
    moved = modality in directions and directions[modality].recipe.moves
    return f"vector_{modality}" if moved else "vector"


def bias_applies(
    table: lance.LanceDataset, given: WeightedInput, direction: Direction, where: str | None
) -> bool:
    """Whether the bias is subtracted for this input.

    Static methods always subtract it. Dynamic methods do only if the input's top item is a hub.
    """
    if not direction.recipe.dynamic:
        return True
    column = vector_column(given.modality, {given.modality: direction})
    query = ColumnQuery(column, query_vector(given.vector, {}), 0.0)
    flag = f"hub_{given.modality}"
    top = fetch(table, query, 1, [flag], where)
    return bool(top.num_rows and top[flag][0].as_py())


def _column_queries(
    inputs: list[WeightedInput],
    directions: Mapping[str, Direction],
    corrected: Sequence[WeightedInput],
) -> list[ColumnQuery]:
    """The searches that the inputs need, one for each vector column."""
    by_column: dict[str, list[WeightedInput]] = {}
    for i in inputs:
        by_column.setdefault(vector_column(i.modality, directions), []).append(i)
    queries = []
    for column, members in by_column.items():
        weights: dict[str, float] = {}
        for i in members:
            if any(i is c for c in corrected):
                weights[i.modality] = weights.get(i.modality, 0.0) + i.weight
        offset = -sum(weight * directions[m].centre for m, weight in weights.items())
        queries.append(ColumnQuery(column, query_vector(combine(members), weights), offset))
    return queries


def _threshold_search(
    table: lance.LanceDataset,
    queries: list[ColumnQuery],
    raw_vector: np.ndarray,
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """The threshold algorithm: fetch more rows of each column until the answer is proven."""
    vectors = list(dict.fromkeys(["vector", *(query.column for query in queries)]))
    read = list(dict.fromkeys([*columns, *vectors, ROW_ID]))
    total = table.count_rows()
    count = min(total, max(_FIRST_ROWS, limit))
    while True:
        fetched = [fetch(table, query, max(count, 1), read, where) for query in queries]
        rows = _distinct(fetched)
        score = np.zeros(rows.num_rows, np.float32)
        for query in queries:
            score += as_matrix(rows[query.column]) @ query.vector + np.float32(query.offset)
        # A search that returns fewer rows than requested has returned all that satisfy `where`.
        exhausted = any(f.num_rows < count for f in fetched)
        complete = exhausted or count >= total
        if not complete:
            threshold = sum(float(f["_column_score"].to_numpy().min()) for f in fetched)
            complete = bool(np.partition(score, -limit)[-limit] >= threshold)
        if complete or count >= _MAX_ROWS:
            break
        count = min(total, _GROWTH * count, _MAX_ROWS)
    raw = unfold(as_matrix(rows["vector"]), raw_vector.shape[0]) @ raw_vector
    return RankedRows(rank_rows(rows, score, raw, columns, limit), complete, rows.num_rows)


def _distinct(fetched: list[pa.Table]) -> pa.Table:
    """The rows of several searches, each row once."""
    rows = pa.concat_tables([f.drop_columns(["_column_score"]) for f in fetched])
    if len(fetched) == 1:
        return rows
    _, first = np.unique(rows[ROW_ID].to_numpy(), return_index=True)
    return rows.take(pa.array(first))


def rank_rows(
    rows: pa.Table, score: np.ndarray, raw: np.ndarray, columns: list[str], limit: int
) -> pa.Table:
    """The `limit` best rows by `score`: `_score`, `_raw_score`, `_bias`, then `columns`."""
    order = np.argsort(-score, kind="stable")[:limit]
    best = rows.select(columns).take(pa.array(order))
    scores = [("_score", score), ("_raw_score", raw), ("_bias", raw - score)]
    for position, (name, values) in enumerate(scores):
        best = best.add_column(position, name, pa.array(values[order].astype(np.float32)))
    return best


def filter_columns(table: lance.LanceDataset) -> list[str]:
    """The columns of a gallery that a condition can name."""
    return [n for n in table.schema.names if not n.startswith(("vector", "thumbnail"))]


def check_columns(table: lance.LanceDataset, columns: list[str]) -> None:
    """Raise NotFoundError for a column that the gallery does not have."""
    allowed = [n for n in table.schema.names if not n.startswith("vector")]
    for column in columns:
        if column not in allowed:
            raise NotFoundError(f"no column {column!r}; columns: {', '.join(allowed)}")
