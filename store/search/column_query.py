"""A search of one vector column, how it is done, and what it returns."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.tables.indexes import Probe


@dataclass(frozen=True)
class ColumnQuery:
    """A search of one vector column. The score of a row is `row @ vector + offset`.

    `probes` names the settings of the gallery's index that it needs (`store.tables.indexes`).
    Without a name it scans.
    """

    column: str
    vector: np.ndarray
    offset: float
    probes: tuple[str, ...] = ()

    def scores(self, rows: pa.Table) -> np.ndarray:
        """The scores (n,) of rows that have the column."""
        return as_matrix(rows[self.column]) @ self.vector + np.float32(self.offset)


class Fetched(NamedTuple):
    """The best rows of one vector column.

    Attributes:
        rows: the requested columns, then `_column_score`.
        exact: whether the whole column was scanned.
        recall: as measured for the index; 1 if the whole column was scanned.
    """

    rows: pa.Table
    exact: bool
    recall: float


class Access(NamedTuple):
    """How a vector column is searched: a setting of its index, or None for a scan; and why."""

    probe: Probe | None
    reason: str
