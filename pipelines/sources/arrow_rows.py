"""Rows of Arrow batches as dictionaries, read so that a broken cell or batch costs its rows only.

Shared by the readers of Parquet files and Lance datasets.
"""

from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa

from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.records import BadRecord, Record
from store.errors import RecordError

_MAX_ROWS = 64  # per batch
_MAX_BYTES = 32 << 20  # per batch
ROWS_PER_UNIT = 4096


def batch_size(rows: int, size: int) -> int:
    """How many rows to read at a time where `rows` rows take `size` bytes."""
    return max(1, min(_MAX_ROWS, _MAX_BYTES * max(1, rows) // max(1, size)))


def row_dicts(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch. A cell that Python cannot hold is a RecordError instead of a value."""
    columns = {name: _values(name, column) for name, column in _distinct_columns(batch)}
    for row in range(batch.num_rows):
        yield {name: values[row] for name, values in columns.items()}


def numbered_rows(
    batches: Iterable[pa.RecordBatch], count: int, first: int, rule: str, what: str
) -> Iterator[tuple[int, Row | RecordError]]:
    """Exactly `count` rows with their numbers: those that can be read, errors for the others.

    Args:
        batches: the rows' batches; reading may fail at any of them.
        count: the number of rows in the file's metadata.
        first: the number of the first row.
        rule: the rule of the errors.
        what: the name of what is read, for the error message.
    """
    done = 0
    reason = f"its metadata says {count} rows"
    try:
        for batch in batches:
            for row in row_dicts(batch.slice(0, count - done)):
                yield first + done, row
                done += 1
    except Exception as error:  # on broken files Arrow and Lance raise nearly every type of error
        reason = f"{type(error).__name__}: {error}"
    message = f"{what} cannot be read from row {first + done} on: {reason}"[:300]
    for number in range(first + done, first + count):
        yield number, RecordError(rule, message)


def records(
    rows: Iterable[tuple[int, Row | RecordError]], reader: RowReader
) -> Iterator[Record | BadRecord]:
    """The records of numbered rows; a row without a key has the key `row-N`."""
    for number, row in rows:
        yield reader.record(row, f"row-{number}")


def group_spans(sizes: Iterable[int], limit: int = ROWS_PER_UNIT) -> Iterator[tuple[int, int]]:
    """Group neighbours into spans (start, stop) of at most `limit` rows.

    An item with more rows than `limit` has a span of its own.

    Args:
        sizes: the rows of each row group or fragment, in order.
        limit: the largest number of rows in a span.
    """
    start = rows = stop = 0
    for stop, size in enumerate(sizes, start=1):
        if stop - 1 > start and rows + size > limit:
            yield start, stop - 1
            start, rows = stop - 1, 0
        rows += size
    if stop > start:
        yield start, stop


def text_columns(schema: pa.Schema, names: Collection[str]) -> list[str]:
    """Those of the named columns that hold text, and so may hold paths of files."""
    return [field.name for field in schema if field.name in names and _is_text(field.type)]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _distinct_columns(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """The columns of a batch; of several with one name, the first."""
    names: set[str] = set()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name not in names:
            names.add(name)
            yield name, column


def _values(name: str, column: pa.Array) -> list:
    try:
        return column.to_pylist()
    except Exception:
        return [_value(name, column, row) for row in range(len(column))]


def _value(name: str, column: pa.Array, row: int) -> object:
    try:
        return column[row].as_py()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        message = f"column {name}: not UTF-8 at byte {error.start}: 0x{byte:02x}"
        return RecordError("text.encoding", message)
    except Exception as error:  # for example a time outside of Python's calendar
        return RecordError(
            "row.unreadable", f"column {name}: {type(error).__name__}: {error}"[:300]
        )
