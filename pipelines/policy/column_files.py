"""Columns of all samples in files, of which there may be more than memory holds.

Each column is an Arrow file, which is mapped while the column is used: its pages are in the caches
of the operating system, and a slice reads its own pages only.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from pipelines.engine.array_files import ArrayFile
from store.tables import schema

_ROWS = 1 << 18
Columns: TypeAlias = "pa.Table | ColumnFiles"
Values: TypeAlias = np.ndarray | ArrayFile  # read and written by slices and by indices


class ColumnFiles:
    """Columns that are read by their names, as those of a table are.

    Attributes:
        num_rows: of each column.
        column_names: the names.
    """

    def __init__(
        self,
        folder: Path,
        batches: Iterable[pa.RecordBatch],
        columns: pa.Schema,
        plain: Iterable[str] = (),
    ):
        """Write the columns.

        Args:
            folder: where a file for each column is made.
            batches: the rows, with `columns`.
            columns: string columns are dictionary-encoded, and their distinct values are in memory.
            plain: the names of string columns that are not.
        """
        self._folder, self.column_names, self.num_rows = folder, columns.names, 0
        self._scratch = count()
        self._values: dict[str, dict[str, int]] = {
            f.name: {} for f in columns if schema.is_text(f.type) and f.name not in set(plain)
        }
        types = {f.name: pa.int32() if f.name in self._values else f.type for f in columns}
        folder.mkdir(parents=True, exist_ok=True)
        writers = {n: pa.ipc.new_file(self._path(n), pa.schema([(n, t)])) for n, t in types.items()}
        for block in _buffered(batches):
            self.num_rows += block.num_rows
            for name, writer in writers.items():
                column = self._encoded(name, block[name].combine_chunks())
                writer.write_batch(pa.record_batch([column], [name]))
        for writer in writers.values():
            writer.close()

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """A column. Its memory is mapped until it is no longer used."""
        with pa.memory_map(str(self._path(name))) as file:
            column = pa.ipc.open_file(file).read_all()[name]
        if name not in self._values:
            return column
        names = pa.array(list(self._values[name]), pa.string())
        # Without a check of the numbers, which would read the whole file.
        chunks = [
            pa.DictionaryArray.from_arrays(chunk, names, safe=False) for chunk in column.chunks
        ]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))

    def scratch(self, dtype: type) -> ArrayFile:
        """A file with a number for each row, (n,), which are zero until they are written."""
        path = self._folder / f"{next(self._scratch)}.values"
        return ArrayFile(path, (self.num_rows,), dtype)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.arrow"

    def _encoded(self, name: str, column: pa.Array) -> pa.Array:
        """A string column as numbers of its distinct values, by their first appearance."""
        if name not in self._values:
            return column
        numbers, encoded = self._values[name], column.dictionary_encode()
        of_batch = [numbers.setdefault(v, len(numbers)) for v in encoded.dictionary.to_pylist()]
        return pa.array(np.array(of_batch, np.int32)).take(encoded.indices)


def value_of_each(samples: Columns, dtype: type) -> Values:
    """A number for each sample, zero until it is written; in a file, if the columns are."""
    if isinstance(samples, ColumnFiles):
        return samples.scratch(dtype)
    return np.zeros(samples.num_rows, dtype)


def _buffered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in blocks of 262,144 or more: files of few blocks are opened fast."""
    held, rows = list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= _ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)
