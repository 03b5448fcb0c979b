"""A version of a space's table of vectors, read by row id."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from store.arrays import is_unit_length
from store.arrow import as_matrix
from store.tables.table_version import TableVersion, take_rows

_READ_ROWS = 8192  # vectors that are read at a time


@dataclass(frozen=True)
class VectorTable:
    """A version of a space's table of vectors, and of `samples`.

    `samples` is read only for source and key of samples with a broken vector, and for captions.
    """

    vectors: TableVersion
    dim: int
    samples: TableVersion

    def read(self, row_ids: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Read vectors by row id.

        Returns:
            Vectors float32 (n, d), and bool (n,): which are finite and of length 1.
        """
        vectors = np.empty((len(row_ids), self.dim), np.float32)
        for start in range(0, len(row_ids), _READ_ROWS):
            block = row_ids.slice(start, _READ_ROWS).to_pylist()
            column = take_rows(self.vectors, block, ["vector"])["vector"]
            vectors[start : start + _READ_ROWS] = as_matrix(column)
        return vectors, is_unit_length(vectors)
