"""Rows that Lance writes, each batch made on a thread of Python.

Lance reads a stream on threads of its own, which have 2 MB of stack. OpenBLAS needs more for the
factorisation of a matrix on several cores (half a megabyte for each level of `getrf`), so a
correction that is fitted while its rows are written would end the process without an error.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa


def row_reader(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
    """A reader of batches for Lance. What `batches` raises is raised while it is read.

    Args:
        schema: of all batches.
        batches: made one at a time, when Lance wants the next one. A list needs no thread, so it
            can be written while the interpreter ends.
    """
    made = batches if isinstance(batches, Sequence) else _on_a_thread(batches)
    return pa.RecordBatchReader.from_batches(schema, made)


def _on_a_thread(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with ThreadPoolExecutor(1, "rows") as thread:
        rows = iter(batches)
        while (batch := thread.submit(next, rows, None).result()) is not None:
            yield batch
