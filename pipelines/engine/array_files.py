"""Arrays in scratch files: rows of more bytes than memory holds, by their index.

A file is read with plain reads, or mapped for one access and unmapped after it. So what it holds is
in the caches of the operating system, and not in the memory of the process.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

_MAPPED_ROWS = 1024  # at a time: for each, Linux maps up to 64 KB


class ArrayFile:
    """A file with rows of one shape and type, zero until they are written.

    `array[start:stop]` and `array[indices]` read copies of rows, and `array[...] = rows` writes
    them. A function that only does this takes arrays of numpy too.

    Attributes:
        shape: (rows, ...), as of an array.
        dtype: of the values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type | np.dtype):
        """Make the file, or empty it."""
        self._path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._width = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        with path.open("wb") as file:
            file.truncate(shape[0] * self._width)

    @classmethod
    def of(cls, path: Path, blocks: Iterable[np.ndarray], dtype: type | np.dtype) -> "ArrayFile":
        """Write blocks of values one after the other, (n,)."""
        out = cls(path, (0,), dtype)
        with path.open("wb") as file:
            for block in blocks:
                block.astype(dtype, copy=False).tofile(file)
        out.shape = (path.stat().st_size // out.dtype.itemsize,)
        return out

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read rows: a slice of step 1, or (k,) indices in any order."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            count = max(stop - start, 0)
            values = np.fromfile(
                self._path,
                self.dtype,
                count * self._width // self.dtype.itemsize,
                offset=start * self._width,
            )
            return values.reshape(count, *self.shape[1:])
        distinct, inverse = np.unique(rows, return_inverse=True)
        out = np.empty((len(distinct), *self.shape[1:]), self.dtype)
        for start in range(0, len(distinct), _MAPPED_ROWS):
            block = slice(start, start + _MAPPED_ROWS)
            out[block] = self._mapped("r")[distinct[block]]
        return out[inverse]

    def __setitem__(self, rows: slice | np.ndarray, values: np.ndarray) -> None:
        """Write rows: at a slice of step 1, or at (k,) distinct indices."""
        if isinstance(rows, slice):
            with self._path.open("r+b") as file:
                file.seek((rows.start or 0) * self._width)
                np.ascontiguousarray(values, self.dtype).tofile(file)
            return
        order = np.argsort(rows)
        for start in range(0, len(rows), _MAPPED_ROWS):
            block = order[start : start + _MAPPED_ROWS]
            self._mapped("r+")[rows[block]] = values[block]

    def _mapped(self, mode: str) -> np.memmap:
        return np.memmap(self._path, self.dtype, mode, shape=self.shape)  # type: ignore[call-overload]
