"""Extends the indexes of a column by the rows that they lack, where Lance does that soundly.

Lance gives an index another segment. Those of IVF_RQ and IVF_HNSW_SQ have the same partitions and
are searched together as well as an index that is built anew. The scores of those of IVF_PQ cannot
be compared, and merged segments of IVF_RQ are corrupt (lance #7731): six segments of IVF_PQ lowered
the recall@10 of 20,000 rows from 0.82 to 0.36. Full-text scores are those of one index.
"""

from typing import Any

import lance

from store.tables.reindex import unindexed_rows, vector_indexes

_EXTENDED = ("ivf_rq", "ivf_hnsw_sq")
_MOST_SEGMENTS = 5  # each costs a search about half a millisecond


def can_extend(table: lance.LanceDataset, column: str, kind: str) -> bool:
    """Whether a column has a vector index of a kind with room for another segment."""
    index = vector_indexes(table).get(column)
    return (
        kind in _EXTENDED
        and index is not None
        and index.index_type.lower() == kind
        and has_room(index)
    )


def has_room(index: Any) -> bool:
    """Whether an index, as Lance describes it, may get another segment."""
    return len(index.segments) < _MOST_SEGMENTS


def extend(table: lance.LanceDataset, index: Any) -> None:
    """Add a segment for the rows that an index, as Lance describes it, lacks, if there are any."""
    if unindexed_rows(table, index):
        table.optimize.optimize_indices(num_indices_to_merge=0, index_names=[index.name])
