"""Rows of arrays in Ray's object store, which tasks on every node read.

A scratch file (`pipelines.engine.array_files`) is on one machine. Its rows are copied to the object
store in blocks. Ray sends a block to each node that reads it, once, and moves blocks to disk when
the store is full.
"""

from collections.abc import Sequence

import numpy as np
import ray

from pipelines.engine.array_files import ArrayFile

_BLOCK_BYTES = 16 << 20


class SharedRows:
    """Rows in the object store, read as those of an `ArrayFile`. It can be sent to tasks.

    Attributes:
        shape: (rows, ...), as of an array.
        dtype: of the values.
    """

    def __init__(self, rows: np.ndarray | ArrayFile):
        """Copy rows to the object store. This process must be connected to Ray."""
        self.shape, self.dtype = rows.shape, rows.dtype
        width = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize
        self._step = max(1, _BLOCK_BYTES // max(width, 1))
        starts = range(0, len(rows), self._step)
        self._blocks = [ray.put(rows[start : start + self._step]) for start in starts]

    @classmethod
    def of_blocks(
        cls, blocks: Sequence[ray.ObjectRef], step: int, shape: tuple[int, ...], dtype: type
    ) -> "SharedRows":
        """Rows that tasks have put there.

        Args:
            blocks: references of (step, ...) rows each; the last one may have fewer.
            step: rows of a block.
            shape, dtype: of all rows.
        """
        rows = cls(np.empty((0, *shape[1:]), dtype))
        rows.shape, rows._step, rows._blocks = shape, step, list(blocks)
        return rows

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read rows: a slice of step 1, or (k,) indices in any order.

        A slice within one block is a view of the object store, which cannot be written.
        """
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            numbers = range(start // self._step, -(-stop // self._step))
            parts = [
                self._block(n)[max(start - n * self._step, 0) : stop - n * self._step]
                for n in numbers
                if start < stop
            ]
            return parts[0] if len(parts) == 1 else np.concatenate([self._empty(), *parts])
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        block_of_row = rows // self._step
        for number in np.unique(block_of_row).tolist():
            chosen = np.flatnonzero(block_of_row == number)
            out[chosen] = self._block(number)[rows[chosen] - number * self._step]
        return out

    def _block(self, number: int) -> np.ndarray:
        block: np.ndarray = ray.get(self._blocks[number])
        return block

    def _empty(self) -> np.ndarray:
        return np.empty((0, *self.shape[1:]), self.dtype)


def share(
    rows: np.ndarray | ArrayFile | SharedRows, on_ray: bool
) -> np.ndarray | ArrayFile | SharedRows:
    """Rows as tasks read them: in the object store for Ray's, as they are for this process."""
    return SharedRows(rows) if on_ray and not isinstance(rows, SharedRows) else rows
