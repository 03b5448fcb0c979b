"""Writes the tables of a release that is made without the pipeline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from store.arrow import vector_column
from store.tables import schema
from store.tables.lance_tables import Tables


def write_gallery(
    tables: Tables, name: str, columns: pa.Schema, values: Mapping[str, Any], rows: int
) -> None:
    """Write a gallery. Columns without values are null."""
    arrays = []
    for field in columns:
        given = values.get(field.name)
        if given is None:
            arrays.append(pa.nulls(rows, field.type))
        else:
            arrays.append(given if isinstance(given, pa.Array) else pa.array(given, field.type))
    tables.replace(name, columns, pa.table(arrays, schema=columns).to_batches(), "false")


def bank_rows(banks: Mapping[str, np.ndarray], dim: int) -> pa.Table:
    """The rows of banks (m, dim) by modality. Row n of all of them is of one sample."""
    tables = []
    for modality, vectors in banks.items():
        count = len(vectors)
        samples = [f"b{n}" for n in range(count)]
        columns = dict.fromkeys(("sample_id", "cluster"), samples)
        columns |= {name: ["x"] * count for name in ("origin", "encoder", "draw")}
        columns |= {"part_id": [f"{modality}-b{n}" for n in range(count)]}
        columns |= {"split": ["bank"] * count, "modality": [modality] * count}
        columns["vector"] = vector_column(vectors)
        tables.append(pa.table(columns).select(schema.banks(dim).names))
    return pa.concat_tables(tables).cast(schema.banks(dim))
