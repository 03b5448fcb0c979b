"""Captions of samples that go, where the policy gave them to other samples.

`pairs` and `decisions` name the sample that a caption comes from. The row stays, without the
caption. In galleries, the id of a text, which is a hash of it, says which captions go.
"""

from collections.abc import Set

import pyarrow as pa
import pyarrow.compute as pc

from store import identity
from store.tables.purge import Rule, is_in
from store.tables.signals import REPAIR_TYPES


def without_repairs(samples: Set[str], parts: Set[str]) -> Rule:
    """The rule for `pairs` and `decisions`.

    Args:
        samples: ids of the samples that go; their rows are removed.
        parts: ids of the parts that go.
    """
    own = {"id": samples}
    values = own | {"repair_from": samples, "repair_text_id": parts}

    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        rest = batch.filter(pc.invert(is_in(batch, own)))
        columns = [
            pa.nulls(rest.num_rows, field.type) if field.name in REPAIR_TYPES else column
            for field, column in zip(rest.schema, rest.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=rest.schema)

    return Rule(tuple(values), lambda batch: is_in(batch, values), edit)


def has_caption(batch: pa.RecordBatch, parts: Set[str]) -> pa.Array:
    """Which rows of a gallery have a caption that goes: a bool array without nulls."""
    captions = batch["caption"].to_pylist() if "caption" in batch.schema.names else []
    goes = [c is not None and identity.part_id("text", c.encode()) in parts for c in captions]
    return pa.array(goes or [False] * batch.num_rows, pa.bool_())
