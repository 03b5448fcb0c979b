"""Reader of Parquet manifests. A unit is some row groups; the footer counts their rows.

A file is one bad record where its footer cannot be read, or claims more rows than the file has
bits, since nobody knows how many records it has. A row group that cannot be read to its end costs
its rows from there on.
"""

from collections.abc import Collection, Iterator

import pyarrow.parquet as pq

from pipelines.sources.arrow_rows import (
    batch_size,
    group_spans,
    numbered_rows,
    records,
    text_columns,
)
from pipelines.sources.filesystem import open_inside, size_of
from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.records import BadRecord, Record, Unit
from store.config.limits import Limits
from store.errors import RecordError

# Bytes read ahead. Without a buffer, PyArrow holds a column of a row group in memory as a whole.
_BUFFER = 1 << 20
WHOLE_FILE_KEY = "whole-file"  # the record key of a file whose rows cannot be counted


def spans(root: str, path: str) -> list[tuple[int, int]]:
    """The row groups (start, stop) of each unit of a file.

    Raises:
        RecordError: as `open_file` does.
    """
    with open_file(root, path) as file:
        meta = file.metadata
        sizes = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
    return list(group_spans(sizes))


def open_file(root: str, path: str) -> pq.ParquetFile:
    """Open a file and check that its footer is plausible.

    Raises:
        RecordError: `parquet.unreadable`, or as `open_inside` does.
    """
    source = open_inside(root, path)
    try:
        size = size_of(source)
        file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
        meta = file.metadata
        groups = [meta.row_group(g) for g in range(meta.num_row_groups)]
        rows = [group.num_rows for group in groups]
        _ = file.schema_arrow
    except Exception as error:  # on broken files Arrow raises nearly every type of error
        source.close()
        message = f"its rows cannot be counted: {type(error).__name__}: {error}"
        raise RecordError("parquet.unreadable", message[:300]) from error
    if min(rows, default=0) < 0 or sum(rows) != meta.num_rows or sum(rows) > 8 * size:
        source.close()
        message = f"the footer claims {meta.num_rows} rows in {size} bytes, which is not plausible"
        raise RecordError("parquet.unreadable", message)
    return file


def count(unit: Unit) -> int:
    """Count the rows of a unit by the footer alone."""
    try:
        with open_file(unit.root, unit.paths[0]) as file:
            return sum(file.metadata.row_group(g).num_rows for g in _row_groups(unit, file))
    except RecordError:
        return 1


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit. A row without a key has the key `row-N`: its row in the file."""
    reader = RowReader(unit, limits)
    try:
        file = open_file(unit.root, unit.paths[0])
    except RecordError as error:
        yield reader.bad(WHOLE_FILE_KEY, error)
        return
    with file:
        yield from records(_rows(unit, file, None), reader)


def rows(unit: Unit, columns: list[str] | None = None) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows with their numbers in the file.

    Args:
        unit: the row groups to read.
        columns: the columns to read, of which the file may lack some; None reads all.

    Raises:
        RecordError: as `open_file` does.
    """
    with open_file(unit.root, unit.paths[0]) as file:
        yield from _rows(unit, file, columns)


def texts(unit: Unit, names: Collection[str]) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows with those of the named columns that hold text.

    Raises:
        RecordError: as `open_file` does.
    """
    with open_file(unit.root, unit.paths[0]) as file:
        if columns := text_columns(file.schema_arrow, names):
            yield from _rows(unit, file, columns)


def _rows(
    unit: Unit, file: pq.ParquetFile, columns: list[str] | None
) -> Iterator[tuple[int, Row | RecordError]]:
    names = file.schema_arrow.names
    present = None if columns is None else [n for n in columns if n in names]
    groups = _row_groups(unit, file)
    first = sum(file.metadata.row_group(g).num_rows for g in range(groups.start))
    for group in groups:
        meta = file.metadata.row_group(group)
        batches = file.iter_batches(
            batch_size=batch_size(meta.num_rows, meta.total_byte_size),
            row_groups=[group],
            columns=present,
            use_threads=False,
        )
        what = f"row group {group}"
        yield from numbered_rows(batches, meta.num_rows, first, "parquet.corrupt", what)
        first += meta.num_rows


def _row_groups(unit: Unit, file: pq.ParquetFile) -> range:
    return range(*(unit.span or (0, file.metadata.num_row_groups)))
