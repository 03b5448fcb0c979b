"""Masks: which bank rows belong to the same sample or duplicate cluster as a gallery row.

A caption in the bank must not penalise its own image, so their similarity is left out of sums and
neighbourhoods. There are few such pairs, so they are stored as coordinates and not as a matrix.
"""

from typing import Any

import numpy as np

from store.arrays import equal_range, ragged_ranges
from store.errors import InputError

Pairs = tuple[np.ndarray, np.ndarray]  # (rows, columns), int64, sorted by column
NO_PAIRS: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64))


def as_ids(ids: Any, rows: int, name: str) -> np.ndarray | None:
    """Ids as a (rows,) array of integers or strings; None stays None and masks nothing.

    Args:
        ids: one id per row. In a sequence of objects, None is an unknown id that equals no other.
        rows: the number of rows.
        name: name of the argument, for error messages.

    Raises:
        InputError: the number of ids differs from `rows`, or they are not integers or strings.
    """
    if ids is None:
        return None
    array = np.asarray(ids)
    if array.shape != (rows,):
        raise InputError(f"{name} must hold one id for each of {rows} rows, not {array.shape}")
    if not rows:
        return np.empty(0, str)  # NumPy takes an empty sequence for numbers
    if array.dtype.kind == "O":
        # The replacement of an unknown id contains `name`: it equals no id of another argument.
        array = np.array([f"\x00{name} {i}" if x is None else x for i, x in enumerate(array)])
    if array.dtype.kind not in "iuUS":
        raise InputError(f"{name} must hold integers or strings, but its dtype is {array.dtype}")
    return array


class IdIndex:
    """Finds the rows of a bank by id. It sorts the ids once for many look-ups."""

    def __init__(self, ids: np.ndarray | None):
        self.ids = ids
        if ids is not None:
            self.order = np.argsort(ids, kind="stable")
            self.sorted = ids[self.order]

    def pairs(self, ids: np.ndarray | None) -> Pairs:
        """All coordinates (row of `ids`, row of the bank) with equal ids.

        Raises:
            InputError: one side has integers and the other has strings.
        """
        if ids is None or self.ids is None or not len(ids) or not len(self.ids):
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
