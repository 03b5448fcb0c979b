"""The best rows by a score that joins the searches of several vector columns.

Over an index: the threshold algorithm (Fagin, Lotem and Naor 2003). Fetch the best rows of each
search and compute their full scores. The score of a row that was not fetched is at most the joined
score of the lowest scores fetched from each search. So once the k-th best score reaches this bound,
the first k rows are the best. Where more rows are needed than the index was measured for, or
without an index, one scan computes the joined score of every row.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.search.batch_scan import scan_joined
from store.search.column_query import ColumnQuery
from store.search.open_gallery import ROW_ID, OpenGallery
from store.tables.indexes import DEEPEST

FIRST_ROWS = 64  # fetched by each search in the first round
_GROWTH = 4


class FoundRows(NamedTuple):
    """Rows among which the best are.

    Attributes:
        rows: the requested columns, and those that the score reads.
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
    scored: Sequence[str],
    bound: Callable[[Sequence[float]], float],
    columns: list[str],
    where: str | None,
    limit: int,
) -> FoundRows:
    """Find rows among which the best are.

    Args:
        gallery: to search.
        queries: the searches.
        score: the full scores (n,) of rows.
        scored: the columns that `score` reads.
        bound: the highest full score of a row that scores no higher than these numbers in any
            search.
        columns: to return.
        where: a condition on the gallery's columns.
        limit: how many best rows are needed.
    """
    read = list(dict.fromkeys([*columns, *scored, ROW_ID]))
    count = max(FIRST_ROWS, limit)
    while all(gallery.access(query, count, where).probe for query in queries):
        answers = [gallery.fetch(query, count, read, where) for query in queries]
        rows = _distinct([answer.rows for answer in answers])
        # A search that returns fewer rows than requested has returned all that satisfy `where`.
        proven = any(answer.rows.num_rows < count for answer in answers)
        if not proven:
            lowest = [float(a.rows["_column_score"].to_numpy().min()) for a in answers]
            proven = bool(np.partition(score(rows), -limit)[-limit] >= bound(lowest))
        if proven:  # as far as the index finds what it should
            return FoundRows(rows, False, min(answer.recall for answer in answers))
        if count >= DEEPEST:
            break
        count = min(_GROWTH * count, DEEPEST)
    with gallery.checked(where):
        distinct = list(dict.fromkeys(scored))
        row_ids = scan_joined(gallery.table, distinct, score, max(limit, 1), where)
    return FoundRows(gallery.take(row_ids, read), True, 1.0)


def _distinct(fetched: list[pa.Table]) -> pa.Table:
    """The rows of several searches, each row once."""
    rows = pa.concat_tables([f.drop_columns(["_column_score"]) for f in fetched])
    if len(fetched) == 1:
        return rows
    _, first = np.unique(rows[ROW_ID].to_numpy(), return_index=True)
    return rows.take(pa.array(first))
