"""The parts that a gallery holds: those of kept samples, each once, with columns to filter by."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.stages.context import StageContext
from store.arrow import joined_keys
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import vectors_table

_SIGNALS = list(schema.SIGNAL_TYPES)
_OF_FIRST_SAMPLE = ["id", "drop", "row", "cluster", "key", "text"]


def gallery_parts(context: StageContext, modality: str, samples: pa.Table) -> pa.Table:
    """The parts of one modality that are kept and embedded, one row a part, sorted by part id.

    Args:
        samples: as `kept_samples` returns them, sorted by drop and key.

    Returns:
        Columns part_id, `vector_row` and `sample_row` (row ids in the table of vectors and in
        `samples`), sample_ids and drops (of all samples with the part); and of the first of these
        samples: id, drop, cluster, key, caption and the signals.
    """
    tables, space, column = context.tables, context.space.name, f"{modality}_id"
    with_part = samples.filter(pc.is_valid(samples[column]))
    grouped = with_part.group_by(column, use_threads=False).aggregate(
        [("id", "list"), ("drop", "list"), *((c, "first") for c in _OF_FIRST_SAMPLE)]
    )
    columns = {
        "part_id": grouped[column],
        "id": grouped["id_first"],
        "drop": grouped["drop_first"],
        "sample_row": grouped["row_first"],
        "sample_ids": grouped["id_list"],
        "drops": _distinct(grouped["drop_list"]),
        "cluster": grouped["cluster_first"],
        "key": grouped["key_first"],
        "caption": grouped["text_first"],
    }
    embedded = _embedded(tables, space, context.fingerprints[modality])
    parts = _inner_join(pa.table(columns), embedded, ["part_id"])
    signals = tables.scan("signals", schema.SIGNALS, ["drop", "id", *_SIGNALS])
    return _inner_join(parts, signals, ["drop", "id"]).sort_by("part_id")


def _embedded(tables: Tables, space: str, fingerprint: str) -> pa.Table:
    vectors = tables.open(vectors_table(space)).to_table(
        columns=["part_id", "encoder"], with_row_id=True
    )
    current = vectors.filter(pc.equal(vectors["encoder"], fingerprint))
    return pa.table({"part_id": current["part_id"], "vector_row": current["_rowid"]})


def _inner_join(left: pa.Table, right: pa.Table, keys: list[str]) -> pa.Table:
    """The rows of `left` with a row in `right`, and its columns. Keys are unique in `right`.

    Arrow's own join does not carry lists.
    """
    index = pc.index_in(joined_keys(left, keys), value_set=joined_keys(right, keys))
    matched = pc.is_valid(index)
    joined = left.filter(matched)
    rows = right.take(index.filter(matched))
    for name in right.schema.names:
        if name not in keys:
            joined = joined.append_column(name, rows[name])
    return joined


def _distinct(lists: pa.ChunkedArray) -> pa.Array:
    return pa.array([sorted(set(drops)) for drops in lists.to_pylist()], pa.list_(pa.string()))
