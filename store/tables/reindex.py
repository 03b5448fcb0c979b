"""Builds the indexes of a version of a table again on another version."""

import warnings
from typing import Any

import lance

from store.tables.lance_tables import Tables

_LEAST_ROWS = 256  # that Lance trains a vector index on; fewer are scanned as fast
_VECTOR = "VectorIndexDetails"


def copy_indexes(tables: Tables, name: str, source: lance.LanceDataset) -> int:
    """Build the indexes that a version has, with the same settings, on the newest version.

    Args:
        tables: of the corpus. The caller holds the lock of the table.
        name: of the table.
        source: the version.

    Returns:
        The newest version afterwards.
    """
    rows = tables.open(name, any_format=True).count_rows()
    for index in source.describe_indices() if rows else ():
        target = tables.open(name, any_format=True)
        (column,) = index.field_names
        if not index.type_url.endswith(_VECTOR):
            kind = index.index_type.upper()
            target.create_scalar_index(column, kind, name=index.name, replace=True)
        elif rows >= _LEAST_ROWS:
            options = _options(source, index.name, column)
            target.create_index(column, index.index_type, name=index.name, **options)
    return tables.version(name)


def vector_indexes(table: lance.LanceDataset) -> dict[str, Any]:
    """Lance's descriptions of the vector indexes of a table, by column."""
    indices = (i for i in table.describe_indices() if i.type_url.endswith(_VECTOR))
    return {index.field_names[0]: index for index in indices}


def index_statistics(table: lance.LanceDataset, name: str) -> dict[str, Any]:
    """What Lance says about an index of a table, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(table.stats.index_stats(name))


def unindexed_rows(table: lance.LanceDataset, index: Any) -> int:
    """How many rows an index of a table lacks.

    Args:
        index: Lance's description of it. Statistics know this too, but list all centroids.
    """
    indexed = {fragment for segment in index.segments for fragment in segment.fragment_ids}
    others = (f for f in table.get_fragments() if f.fragment_id not in indexed)
    return sum(fragment.count_rows() for fragment in others)


def _options(source: lance.LanceDataset, name: str, column: str) -> dict[str, Any]:
    (stats,) = index_statistics(source, name)["indices"][:1]
    options: dict[str, Any] = {"metric": stats["metric_type"]}
    options["num_partitions"] = stats["num_partitions"]
    if "num_sub_vectors" in stats.get("sub_index", {}):
        options["num_sub_vectors"] = stats["sub_index"]["num_sub_vectors"]
    return options
