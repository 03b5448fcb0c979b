"""Rows of galleries whose part other samples still have, without the samples that go.

A row describes its part by the first of its samples: id, key, caption, signals. If this sample
goes, the next one takes its place.
"""

from collections.abc import Callable, Set
from typing import Any

import pyarrow as pa

from pipelines.takedown.repaired_captions import has_caption
from store.tables import schema
from store.tables.lance_tables import Tables, one_of

_SIGNALS = list(schema.SIGNAL_TYPES)


def without_samples(
    tables: Tables, samples: Set[str], parts: Set[str]
) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """A function from rows of a gallery to what remains of them.

    Args:
        tables: of the corpus.
        samples: ids of the samples that go.
        parts: ids of the parts that go.
    """

    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = []
        for row in batch.to_pylist():
            others = [each for each in row["sample_ids"] if each not in samples]
            if others and row["part_id"] not in parts:
                rows.append(row | {"sample_ids": others})
        current = _current_samples(tables, {each for row in rows for each in row["sample_ids"]})
        for row in rows:
            described = [s for each in row["sample_ids"] for s in current.get(each, [])]
            if described:
                row["drops"] = sorted({s["drop"] for s in described})
            if row["id"] in samples:
                row |= _description(tables, row["sample_ids"][0], described)
        edited = pa.RecordBatch.from_pylist(rows, schema=batch.schema)
        for row, goes in zip(rows, has_caption(edited, parts).to_pylist(), strict=True):
            row["caption"] = None if goes else row["caption"]
        return pa.RecordBatch.from_pylist(rows, schema=batch.schema)

    return edit


def _current_samples(tables: Tables, ids: Set[str]) -> dict[str, list[dict[str, Any]]]:
    """The current rows of samples by id. An id can be in several drops."""
    out: dict[str, list[dict[str, Any]]] = {}
    columns = ["drop", "id", "key", "text"]
    rows = tables.scan("samples", schema.SAMPLES, columns, one_of("id", sorted(ids)))
    for row in rows.sort_by([("drop", "ascending"), ("key", "ascending")]).to_pylist():
        out.setdefault(row["id"], []).append(row)
    return out


def _description(tables: Tables, first: str, described: list[dict[str, Any]]) -> dict[str, Any]:
    """The columns that describe a part by its first sample that remains.

    A kept release can have samples that the corpus no longer has; their keys are not known.
    """
    if not described:
        return {"id": first, "key": first, "caption": None}
    sample = described[0]
    where = one_of("id", [sample["id"]]) + " AND " + one_of("drop", [sample["drop"]])
    signals = tables.scan("signals", schema.SIGNALS, _SIGNALS, where).to_pylist()
    description = {"id": sample["id"], "key": sample["key"], "caption": sample["text"]}
    return description | (signals[0] if signals else {})
