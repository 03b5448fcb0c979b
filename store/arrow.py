"""Idioms for pyarrow columns that several modules need."""

import numpy as np
import pyarrow as pa


def vector_column(rows: np.ndarray) -> pa.FixedSizeListArray:
    """A matrix (n, d) as a column of n fixed-size lists of d values, of the matrix's dtype."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def as_matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> np.ndarray:
    """A column of fixed-size lists without nulls as a matrix (n, d): undoes `vector_column`.

    float16, which vectors may be stored in, becomes float32.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    matrix = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix


def as_rows(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column of n numbers, or of n fixed-size lists of d numbers, as (n, 1) or (n, d)."""
    if pa.types.is_fixed_size_list(column.type):
        return as_matrix(column)
    return np.asarray(column).reshape(-1, 1)
