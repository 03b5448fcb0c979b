"""Extends the vector index of a column by the rows that it lacks, where Lance does that soundly.

Lance gives the index another segment with the same partitions. Segments of IVF_RQ and IVF_HNSW_SQ
are searched together as well as an index that is built anew. The scores of those of IVF_PQ cannot
be compared, and merged segments of IVF_RQ are corrupt (lance #7731): six segments of IVF_PQ lowered
the recall@10 of 20,000 rows from 0.82 to 0.36.
"""

import lance

from store.tables.reindex import unindexed_rows, vector_indexes

_EXTENDED = ("ivf_rq", "ivf_hnsw_sq")
_MOST_SEGMENTS = 5  # each costs a search about half a millisecond


def can_extend(table: lance.LanceDataset, column: str, kind: str) -> bool:
    """Whether a column has an index of a kind with room for another segment."""
    index = vector_indexes(table).get(column)
    return (
        kind in _EXTENDED
        and index is not None
        and index.index_type.lower() == kind
        and len(index.segments) < _MOST_SEGMENTS
    )


def extend(table: lance.LanceDataset, column: str) -> None:
    """Add a segment for the rows that the index of a column lacks, if there are any."""
    name = vector_indexes(table)[column].name
    if unindexed_rows(table, name):
        table.optimize.optimize_indices(num_indices_to_merge=0, index_names=[name])
