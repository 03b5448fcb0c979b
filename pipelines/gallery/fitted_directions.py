"""The table `directions__{space}`: the fitted directions of the galleries as they are stored now.

It is emptied before a gallery is written and filled after the last one. So a row in it is true of
the stored galleries, even if a run was stopped in between.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.tables.direction import Direction
from store.tables.lance_tables import Tables
from store.tables.names import directions_table


class FittedDirection(NamedTuple):
    """A direction and what it was fitted on.

    Attributes:
        direction: the correction and the scale of its scores.
        fit_key: the hash of everything that the fit depended on (`run_keys.fit_settings`).
        banks_version: the version of the table of banks.
        floor: (m,) float32, the bank queries' K-th best raw scores, by which k-occurrence is
            counted (`pipelines.gallery.k_occurrence`); None if there are no bank queries.
        drops: a hash of what the rows of each drop were made from, beside the fits.
    """

    direction: Direction
    fit_key: str
    banks_version: int
    floor: np.ndarray | None
    drops: dict[str, str]


_SCHEMA = pa.schema(
    [
        pa.field("direction", pa.string(), False),
        pa.field("fit_key", pa.string(), False),
        pa.field("banks_version", pa.int64(), False),
        pa.field("detail", pa.string(), False),
        pa.field("floor", pa.list_(pa.float32())),
        pa.field("drops", pa.string()),
    ]
)


def forget_fitted(tables: Tables, space: str) -> None:
    """Empty the table."""
    tables.replace(directions_table(space), _SCHEMA, [], None)


def write_fitted(tables: Tables, space: str, fitted: Iterable[FittedDirection]) -> None:
    """Replace the rows of the table."""
    rows = [
        {
            "direction": f.direction.name,
            "fit_key": f.fit_key,
            "banks_version": f.banks_version,
            "detail": json.dumps(vars(f.direction)),
            "floor": f.floor,
            "drops": json.dumps(f.drops),
        }
        for f in fitted
    ]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    tables.replace(directions_table(space), _SCHEMA, table.to_batches(), None)


def read_fitted(tables: Tables, space: str) -> dict[str, FittedDirection]:
    """The fitted directions of the stored galleries by name, such as "text->image"."""
    return {
        row["direction"]: FittedDirection(
            Direction(**json.loads(row["detail"])),
            row["fit_key"],
            row["banks_version"],
            None if row["floor"] is None else np.asarray(row["floor"], np.float32),
            json.loads(row["drops"] or "{}"),
        )
        for row in tables.scan(directions_table(space), _SCHEMA).to_pylist()
    }
