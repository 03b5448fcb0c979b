"""The best rows by a score that joins the searches of several vector columns.

The threshold algorithm (Fagin, Lotem and Naor 2003): fetch the best rows of each search and compute
their full scores. The score of a row that was not fetched is at most the joined score of the lowest
scores fetched from each search. So once the k-th best score reaches this bound, the first k rows
are proven to be the best.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.search.open_gallery import ROW_ID, ColumnQuery, OpenGallery

FIRST_ROWS = 64  # fetched by each search in the first round
_GROWTH = 4
_MAX_ROWS = 20_000  # fetched by each search before the answer is returned unproven


class FoundRows(NamedTuple):
    """Rows among which the best are.

    Attributes:
        rows: the requested columns and those of the searches.
        complete: whether the best rows are proven to be among them.
        recall: of the index that was searched; 1 without one.
    """

    rows: pa.Table
    complete: bool
    recall: float


def search_columns(
    gallery: OpenGallery,
    queries: Sequence[ColumnQuery],
    score: Callable[[pa.Table], np.ndarray],
    bound: Callable[[Sequence[float]], float],
    columns: list[str],
    where: str | None,
    limit: int,
) -> FoundRows:
    """Fetch more rows of each search until the best rows are proven to be among them.

    Args:
        gallery: to search.
        queries: the searches.
        score: the full scores (n,) of rows.
        bound: the highest full score of a row that scores no higher than these numbers in any
            search.
        columns: to return. `score` reads them.
        where: a condition on the gallery's columns.
        limit: how many best rows are needed.
    """
    read = list(dict.fromkeys([*columns, *(query.column for query in queries), ROW_ID]))
    total = gallery.table.count_rows()
    count = min(total, max(FIRST_ROWS, limit))
    while True:
        answers = [gallery.fetch(query, max(count, 1), read, where) for query in queries]
        fetched = [answer.rows for answer in answers]
        rows = _distinct(fetched)
        # A search that returns fewer rows than requested has returned all that satisfy `where`.
        exhausted = any(f.num_rows < count for f in fetched)
        complete = exhausted or count >= total
        if not complete:
            lowest = [float(f["_column_score"].to_numpy().min()) for f in fetched]
            complete = bool(np.partition(score(rows), -limit)[-limit] >= bound(lowest))
        if complete or count >= _MAX_ROWS:
            break
        count = min(total, _GROWTH * count, _MAX_ROWS)
    complete = complete and all(answer.exact for answer in answers)
    return FoundRows(rows, complete, min(answer.recall for answer in answers))


def _distinct(fetched: list[pa.Table]) -> pa.Table:
    """The rows of several searches, each row once."""
    rows = pa.concat_tables([f.drop_columns(["_column_score"]) for f in fetched])
    if len(fetched) == 1:
        return rows
    _, first = np.unique(rows[ROW_ID].to_numpy(), return_index=True)
    return rows.take(pa.array(first))
