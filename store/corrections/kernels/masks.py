"""Which bank rows belong to the same sample or duplicate cluster as a gallery row.

A bank caption must not penalise its own image, so their similarity is left out of sums and
neighbourhoods. Equal pairs are few: they are kept as coordinates, never as a matrix.
"""

from typing import Any

import numpy as np

from store.arrays import equal_range, ragged_ranges
from store.errors import InputError

Pairs = tuple[np.ndarray, np.ndarray]  # (rows, columns), int64, sorted by column
NO_PAIRS: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64))


def as_ids(ids: Any, rows: int, name: str) -> np.ndarray | None:
    """Ids as a (rows,) array of integers or strings; None stays None: nothing is masked.

    Raises InputError when there is not one id a row.
    """
    if ids is None:
        return None
    array = np.asarray(ids)
    if array.shape != (rows,):
        raise InputError(f"{name} must hold one id for each of {rows} rows, not {array.shape}")
    if array.dtype.kind == "O":
        # An unknown sample is nobody's twin: its stand-in equals no id of any other argument.
        array = np.array([f"\x00{name} {i}" if x is None else x for i, x in enumerate(array)])
    if array.dtype.kind not in "iuUS":
        raise InputError(f"{name} must hold integers or strings, but its dtype is {array.dtype}")
    return array


class IdIndex:
    """Finds the rows of a bank by id: sorted once, looked up for many gallery blocks."""

    def __init__(self, ids: np.ndarray | None):
        self.ids = ids
        if ids is not None:
            self.order = np.argsort(ids, kind="stable")
            self.sorted = ids[self.order]

    def pairs(self, ids: np.ndarray | None) -> Pairs:
        """All (row of `ids`, row of the bank) with equal ids."""
        if ids is None or self.ids is None:
            return NO_PAIRS
        if (ids.dtype.kind in "iu") != (self.ids.dtype.kind in "iu"):
            raise InputError(
                f"ids of the rows are {ids.dtype} and ids of the bank are {self.ids.dtype}: "
                "they can never be equal; use one type for both"
            )
        first, count = equal_range(self.sorted, ids)
        rows = np.repeat(np.arange(len(ids)), count)
        columns = self.order[ragged_ranges(first, count)]
        by_column = np.argsort(columns, kind="stable")
        return rows[by_column], columns[by_column]
