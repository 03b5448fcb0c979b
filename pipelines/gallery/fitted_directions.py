"""The `directions__{space}` table: how the last galleries' directions stand, beside the galleries.

It is emptied before a gallery is written and filled after the last, so what it says of a gallery
is true of it whenever a run was stopped.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.tables.lance_tables import Tables
from store.tables.names import directions_table
from store.tables.releases import Direction


class FittedDirection(NamedTuple):
    """A direction, the key of what it was fitted by, the version of the banks' table then, and the
    floors of its k-occurrence (`pipelines.gallery.k_occurrence`; None without queries)."""

    direction: Direction
    fit_key: str
    banks_version: int
    floor: np.ndarray | None


_SCHEMA = pa.schema(
    [
        pa.field("direction", pa.string(), False),
        pa.field("fit_key", pa.string(), False),
        pa.field("banks_version", pa.int64(), False),
        pa.field("detail", pa.string(), False),
        pa.field("floor", pa.list_(pa.float32())),
    ]
)


def forget_fitted(tables: Tables, space: str) -> None:
    tables.replace(directions_table(space), _SCHEMA, [], None)


def write_fitted(tables: Tables, space: str, stands: Iterable[FittedDirection]) -> None:
    rows = [
        {
            "direction": s.direction.name,
            "fit_key": s.fit_key,
            "banks_version": s.banks_version,
            "detail": json.dumps(vars(s.direction)),
            "floor": s.floor,
        }
        for s in stands
    ]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    tables.replace(directions_table(space), _SCHEMA, table.to_batches(), None)


def read_fitted(tables: Tables, space: str) -> dict[str, FittedDirection]:
    """How the directions of the last galleries stand, by their names."""
    return {
        row["direction"]: FittedDirection(
            Direction(**json.loads(row["detail"])),
            row["fit_key"],
            row["banks_version"],
            None if row["floor"] is None else np.asarray(row["floor"], np.float32),
        )
        for row in tables.scan(directions_table(space), _SCHEMA).to_pylist()
    }
