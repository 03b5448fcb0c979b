"""Parquet manifests: units are row groups, and the footer counts their rows.

A file whose footer cannot be read, or promises more rows than the file has bits, is one bad record:
nobody knows how many it had. A row group that breaks off costs its rows from there on.
"""

from collections.abc import Collection, Iterator

import pyarrow.parquet as pq

from pipelines.sources.arrow_rows import joined, records, rows_at_once, stretch, texts_of
from pipelines.sources.filesystem import open_inside, size_of
from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.records import BadRecord, Record, Unit
from store.config.limits import Limits
from store.errors import RecordError

_BUFFER = 1 << 20  # read ahead; else a column of a row group is in memory as a whole
WHOLE = "whole-file"  # the key of a file that cannot be counted


def spans(root: str, path: str) -> list[tuple[int, int]]:
    """The row groups of each unit. Raises RecordError as `open_file` does."""
    with open_file(root, path) as file:
        meta = file.metadata
        groups = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
    return list(joined(groups))


def open_file(root: str, path: str) -> pq.ParquetFile:
    """A file whose footer is plausible.

    Raises RecordError: `parquet.unreadable`, and as `open_inside` does.
    """
    source = open_inside(root, path)
    try:
        size = size_of(source)
        file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
        meta = file.metadata
        groups = [meta.row_group(g) for g in range(meta.num_row_groups)]
        rows = [group.num_rows for group in groups]
        _ = file.schema_arrow
    except Exception as error:  # on hostile bytes Arrow raises nearly every type there is
        source.close()
        said = f"its rows cannot be counted: {type(error).__name__}: {error}"
        raise RecordError("parquet.unreadable", said[:300]) from error
    if min(rows, default=0) < 0 or sum(rows) != meta.num_rows or sum(rows) > 8 * size:
        source.close()
        said = f"the footer promises {meta.num_rows} rows in {size} bytes"
        raise RecordError("parquet.unreadable", said)
    return file


def count(unit: Unit) -> int:
    """The rows of a unit, from the footer alone."""
    try:
        with open_file(unit.root, unit.paths[0]) as file:
            return sum(file.metadata.row_group(g).num_rows for g in _groups(unit, file))
    except RecordError:
        return 1


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    reader = RowReader(unit, limits)
    try:
        file = open_file(unit.root, unit.paths[0])
    except RecordError as error:
        yield reader.bad(WHOLE, error)
        return
    with file:
        yield from records(_rows(unit, file, None), reader)


def rows(unit: Unit, columns: list[str] | None = None) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows by their numbers in the file, of these columns where they are there.

    Raises RecordError as `open_file` does.
    """
    with open_file(unit.root, unit.paths[0]) as file:
        yield from _rows(unit, file, columns)


def texts(unit: Unit, names: Collection[str]) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows of those of these columns that hold text. Raises RecordError as `open_file` does."""
    with open_file(unit.root, unit.paths[0]) as file:
        if columns := texts_of(file.schema_arrow, names):
            yield from _rows(unit, file, columns)


def _rows(
    unit: Unit, file: pq.ParquetFile, columns: list[str] | None
) -> Iterator[tuple[int, Row | RecordError]]:
    names = file.schema_arrow.names
    wanted = None if columns is None else [n for n in columns if n in names]
    first = sum(file.metadata.row_group(g).num_rows for g in range(_groups(unit, file).start))
    for group in _groups(unit, file):
        meta = file.metadata.row_group(group)
        batches = file.iter_batches(
            batch_size=rows_at_once(meta.num_rows, meta.total_byte_size),
            row_groups=[group],
            columns=wanted,
            use_threads=False,
        )
        what = f"row group {group}"
        yield from stretch(batches, meta.num_rows, first, "parquet.corrupt", what)
        first += meta.num_rows


def _groups(unit: Unit, file: pq.ParquetFile) -> range:
    return range(*(unit.span or (0, file.metadata.num_row_groups)))
