"""Corrected search of one gallery, as dot-product searches of its vector columns.

If all inputs are compared with the same vector column, one search of it gives the answer. This is
always the case when no correction moves vectors. Otherwise `store.search.threshold` joins several
columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.search.column_plan import ColumnPlan, WeightedInput, combine, plan_columns
from store.search.column_query import Fetched
from store.search.open_gallery import OpenGallery
from store.search.threshold import search_columns
from store.search.vector_layout import unfold
from store.tables.direction import Direction


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


def search_corrected(
    gallery: OpenGallery,
    inputs: Sequence[WeightedInput],
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
    return search_many(gallery, [inputs], directions, columns, where, limit)[0]


def search_many(
    gallery: OpenGallery,
    batch: Sequence[Sequence[WeightedInput]],
    directions: Mapping[str, Direction],
    columns: list[str],
    where: str | None,
    limit: int,
) -> list[RankedRows]:
    """Search with several queries. Those that scan the same column scan it together.

    Args:
        gallery: to search.
        batch: the inputs of each query.
        directions: see `search_corrected`, as for `columns`, `where` and `limit`.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
    """
    plans = plan_columns(gallery, batch, directions, where)
    read = dict.fromkeys(columns)
    single = [n for n, plan in enumerate(plans) if len(plan.queries) == 1]
    for n in single:
        is_moved = plans[n].queries[0].column != "vector"
        biases = [f"bias_{i.modality}" for i in plans[n].corrected]
        read |= dict.fromkeys(["vector", plans[n].queries[0].column] if is_moved else biases)
    queries = [plans[n].queries[0] for n in single]
    fetched = dict(zip(single, gallery.fetch_many(queries, limit, list(read), where), strict=True))
    ranked = []
    for n, (plan, inputs) in enumerate(zip(plans, batch, strict=True)):
        if n in fetched:
            ranked.append(_rank_fetched(fetched[n], plan, inputs, columns, limit))
            continue
        joined = list(dict.fromkeys([*columns, "vector"]))
        scored = [query.column for query in plan.queries]
        rows_fetched = search_columns(
            gallery, plan.queries, plan.scores, scored, sum, joined, where, limit
        )
        best = _scored(rows_fetched.rows, plan, inputs, columns, limit)
        complete = rows_fetched.complete and plan.exact
        ranked.append(RankedRows(best, complete, rows_fetched.rows.num_rows, rows_fetched.recall))
    return ranked


def _rank_fetched(
    fetched: Fetched,
    plan: ColumnPlan,
    inputs: Sequence[WeightedInput],
    columns: list[str],
    limit: int,
) -> RankedRows:
    """The best rows of a search of one column, which are exactly those of the query."""
    rows = fetched.rows
    if plan.queries[0].column == "vector":
        bias = np.zeros(rows.num_rows, np.float32)
        for i in plan.corrected:
            bias += np.float32(i.weight) * rows[f"bias_{i.modality}"].to_numpy()
        score = rows["_column_score"].to_numpy()
        best = rank_rows(rows, score, score + bias, columns, limit)
    else:
        best = _scored(rows, plan, inputs, columns, limit)
    return RankedRows(best, fetched.exact and plan.exact, rows.num_rows, fetched.recall)


def score_rows(
    gallery: OpenGallery,
    inputs: Sequence[WeightedInput],
    directions: Mapping[str, Direction],
    columns: list[str],
    where: str | None,
    row_ids: Sequence[int],
) -> pa.Table:
    """Score given rows as `search_corrected` does.

    Args:
        gallery: that has the rows.
        inputs: the query.
        directions: the compiled correction for each modality of inputs.
        columns: the gallery's columns to return.
        where: the condition of the query. A dynamic correction looks at the rows that satisfy it.
        row_ids: of Lance.

    Returns:
        The rows, best first: `_score`, `_raw_score`, `_bias`, then `columns`.
    """
    (plan,) = plan_columns(gallery, [inputs], directions, where)
    read = dict.fromkeys([*columns, "vector", *(query.column for query in plan.queries)])
    return _scored(gallery.take(row_ids, list(read)), plan, inputs, columns, len(row_ids))


def _scored(
    rows: pa.Table,
    plan: ColumnPlan,
    inputs: Sequence[WeightedInput],
    columns: list[str],
    limit: int,
) -> pa.Table:
    """The best of rows that have all columns of the plan."""
    return rank_rows(rows, plan.scores(rows), raw_scores(rows, inputs), columns, limit)


def raw_scores(rows: pa.Table, inputs: Sequence[WeightedInput]) -> np.ndarray:
    """The scores (n,) of rows without corrections."""
    vector = combine(inputs)
    return unfold(as_matrix(rows["vector"]), vector.shape[0]) @ vector


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
