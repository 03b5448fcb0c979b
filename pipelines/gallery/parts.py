"""What a gallery shows: the parts of kept samples, each once, with what can be filtered on."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import vectors_table

_SIGNALS = list(schema.SIGNAL_TYPES)


def gallery_parts(context: StageContext, modality: str, samples: pa.Table) -> pa.Table:
    """One row a part of `modality` that is kept and embedded, sorted by part id.

    Columns: part_id, `vector_row` and `sample_row` (row ids in the vectors' table and in
    `samples`), id, sample_ids, drops, cluster, key, caption, and the signals of the first of its
    samples, by drop and key.
    """
    tables, space, column = context.tables, context.space.name, f"{modality}_id"
    kept = samples.filter(pc.is_valid(samples[column]))
    listed = kept.group_by(column, use_threads=False).aggregate(
        [("id", "list"), ("drop", "list"), *((c, "first") for c in _FIRST)]
    )
    named = {
        "part_id": listed[column],
        "id": listed["id_first"],
        "drop": listed["drop_first"],
        "sample_row": listed["row_first"],
        "sample_ids": listed["id_list"],
        "drops": _distinct(listed["drop_list"]),
        "cluster": listed["cluster_first"],
        "key": listed["key_first"],
        "caption": listed["text_first"],
    }
    embedded = _embedded(tables, space, context.fingerprints[modality])
    parts = _merge(pa.table(named), embedded, ["part_id"])
    signals = tables.scan("signals", schema.SIGNALS, ["drop", "id", *_SIGNALS])
    return _merge(parts, signals, ["drop", "id"]).sort_by("part_id")


_FIRST = ["id", "drop", "row", "cluster", "key", "text"]


def _embedded(tables: Tables, space: str, fingerprint: str) -> pa.Table:
    vectors = tables.open(vectors_table(space)).to_table(
        columns=["part_id", "encoder"], with_row_id=True
    )
    current = vectors.filter(pc.equal(vectors["encoder"], fingerprint))
    return pa.table({"part_id": current["part_id"], "vector_row": current["_rowid"]})


def _merge(left: pa.Table, right: pa.Table, keys: list[str]) -> pa.Table:
    """Rows of `left` that have their row in `right`, with its columns. Keys are unique there.

    Arrow's own join does not carry lists.
    """
    place = {
        key: row for row, key in enumerate(zip(*(right[k].to_pylist() for k in keys), strict=True))
    }
    found = np.array(
        [place.get(key, -1) for key in zip(*(left[k].to_pylist() for k in keys), strict=True)],
        np.int64,
    )
    there = found >= 0
    merged = left.filter(pa.array(there, pa.bool_()))
    taken = right.take(pa.array(found[there]))
    for name in right.schema.names:
        if name not in keys:
            merged = merged.append_column(name, taken[name])
    return merged


def _distinct(lists: pa.ChunkedArray) -> pa.Array:
    return pa.array([sorted(set(drops)) for drops in lists.to_pylist()], pa.list_(pa.string()))
