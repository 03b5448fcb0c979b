"""Idioms for pyarrow columns that several modules need."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def joined_keys(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """The key of each row as one string (n,): its values in string columns, joined by newlines."""
    return pc.binary_join_element_wise(*(table[c] for c in columns), "\n").combine_chunks()


def vector_column(rows: np.ndarray) -> pa.FixedSizeListArray:
    """A matrix (n, d) as a column of n fixed-size lists of d values, of the matrix's dtype."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def as_matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> np.ndarray:
    """A column of fixed-size lists without nulls as a matrix (n, d): undoes `vector_column`."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)
