"""Corrected search of one gallery, as dot-product searches of its vector columns.

If all inputs are compared with the same vector column, one search gives the exact answer. This is
always the case when no correction moves vectors.

Otherwise the inputs are compared with different columns, and the threshold algorithm (Fagin, Lotem
and Naor 2003) is used: fetch the best rows of each column and compute their full scores. The score
of a row that was not fetched is at most the sum of the lowest scores fetched from each column. So
once the k-th best score reaches this sum, the first k rows are proven to be the best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.search.open_gallery import ROW_ID, ColumnQuery, OpenGallery
from store.search.vector_layout import query_vector, unfold
from store.tables.indexes import probe_name
from store.tables.releases import Direction

_FIRST_ROWS = 64  # fetched of each column in the first round
_GROWTH = 4
_MAX_ROWS = 20_000  # fetched of each column before the answer is returned unproven


@dataclass(frozen=True)
class WeightedInput:
    """One input of a query: its modality, its unit vector (d,) and its weight in the score."""

    modality: str
    vector: np.ndarray
    weight: float


@dataclass(frozen=True)
class RankedRows:
    """Rows of a gallery, best first.

    Attributes:
        rows: `_score`, `_raw_score`, `_bias`, then the requested columns.
        complete: true if the rows are proven to be the best of the gallery.
        fetched: how many rows were scored.
        recall: of the index that was searched, measured when the release was made. 1 without one.
    """

    rows: pa.Table
    complete: bool
    fetched: int
    recall: float = 1.0


def combine(inputs: list[WeightedInput]) -> np.ndarray:
    """The vector (d,) whose dot product with an item is the weighted sum of the raw scores."""
    weighted = np.stack([i.weight * i.vector for i in inputs])
    return weighted.sum(axis=0, dtype=np.float32)


def search_corrected(
    gallery: OpenGallery,
    inputs: list[WeightedInput],
    directions: Mapping[str, Direction],
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """Search by the corrections that are compiled into a gallery.

    Args:
        gallery: to search.
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
    decided = [
        bias_applies(gallery, i, directions[i.modality], where)
        if i.modality in directions
        else Decision(False, True)
        for i in inputs
    ]
    corrected = [i for i, decision in zip(inputs, decided, strict=True) if decision.applies]
    proven = all(decision.exact for decision in decided)
    queries = _column_queries(gallery, inputs, directions, corrected)
    if [query.column for query in queries] == ["vector"]:
        read = list(dict.fromkeys([*columns, *(f"bias_{i.modality}" for i in corrected)]))
        rows, exact, recall = gallery.fetch(queries[0], limit, read, where)
        bias = np.zeros(rows.num_rows, np.float32)
        for i in corrected:
            bias += np.float32(i.weight) * rows[f"bias_{i.modality}"].to_numpy()
        score = rows["_column_score"].to_numpy()
        best = rank_rows(rows, score, score + bias, columns, limit)
        return RankedRows(best, exact and proven, rows.num_rows, recall)
    ranked = _threshold_search(gallery, queries, combine(inputs), columns, where, limit)
    return replace(ranked, complete=ranked.complete and proven)


def vector_column(modality: str, directions: Mapping[str, Direction]) -> str:
    """The vector column that queries of a modality are compared with."""
    moved = modality in directions and directions[modality].recipe.moves
    return f"vector_{modality}" if moved else "vector"


class Decision(NamedTuple):
    """Whether a bias applies, and whether this was found by an exact search."""

    applies: bool
    exact: bool


def bias_applies(
    gallery: OpenGallery, given: WeightedInput, direction: Direction, where: str | None
) -> Decision:
    """Whether the bias is subtracted for this input.

    Static methods always subtract it. Dynamic methods do only if the input's top item is a hub.
    """
    if not direction.recipe.dynamic:
        return Decision(True, True)
    column = vector_column(given.modality, {given.modality: direction})
    # Only the scores of the column `vector` were measured without a bias.
    probes = (probe_name(given.modality, gallery.modality, False),) if column == "vector" else ()
    query = ColumnQuery(column, query_vector(given.vector, {}), 0.0, probes)
    flag = f"hub_{given.modality}"
    top, exact, _ = gallery.fetch(query, 1, [flag], where)
    return Decision(bool(top.num_rows and top[flag][0].as_py()), exact)


def raw_query(gallery: OpenGallery, inputs: list[WeightedInput]) -> ColumnQuery:
    """The search by raw scores."""
    probes = {probe_name(i.modality, gallery.modality, False) for i in inputs}
    return ColumnQuery("vector", query_vector(combine(inputs), {}), 0.0, tuple(sorted(probes)))


def _column_queries(
    gallery: OpenGallery,
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
        probes = set()
        for i in members:
            is_corrected = any(i is c for c in corrected)
            probes.add(probe_name(i.modality, gallery.modality, is_corrected))
            if is_corrected:
                weights[i.modality] = weights.get(i.modality, 0.0) + i.weight
        offset = -sum(weight * directions[m].centre for m, weight in weights.items())
        vector = query_vector(combine(members), weights)
        queries.append(ColumnQuery(column, vector, offset, tuple(sorted(probes))))
    return queries


def _threshold_search(
    gallery: OpenGallery,
    queries: list[ColumnQuery],
    raw_vector: np.ndarray,
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """The threshold algorithm: fetch more rows of each column until the answer is proven."""
    vectors = list(dict.fromkeys(["vector", *(query.column for query in queries)]))
    read = list(dict.fromkeys([*columns, *vectors, ROW_ID]))
    total = gallery.table.count_rows()
    count = min(total, max(_FIRST_ROWS, limit))
    while True:
        answers = [gallery.fetch(query, max(count, 1), read, where) for query in queries]
        fetched = [answer.rows for answer in answers]
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
    best = rank_rows(rows, score, raw, columns, limit)
    recall = min(answer.recall for answer in answers)
    complete = complete and all(answer.exact for answer in answers)
    return RankedRows(best, complete, rows.num_rows, recall)


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
