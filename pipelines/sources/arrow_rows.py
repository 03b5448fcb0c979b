"""Rows of Arrow batches as dictionaries; a cell that is broken is an error in its own place."""

from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa

from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.records import BadRecord, Record
from store.errors import RecordError

MOST_ROWS = 64  # in memory at once
_MOST_BYTES = 32 << 20
ROWS_PER_UNIT = 4096


def rows_at_once(rows: int, held: int) -> int:
    """How many rows to read at a time where `rows` take `held` bytes."""
    return max(1, min(MOST_ROWS, _MOST_BYTES * max(1, rows) // max(1, held)))


def dictionaries(batch: pa.RecordBatch) -> Iterator[Row]:
    """A batch's rows; a cell that Python cannot hold is a RecordError in its place."""
    columns = {name: _values(name, column) for name, column in _distinct(batch)}
    for row in range(batch.num_rows):
        yield {name: values[row] for name, values in columns.items()}


def stretch(
    batches: Iterable[pa.RecordBatch], promised: int, first: int, rule: str, what: str
) -> Iterator[tuple[int, Row | RecordError]]:
    """As many rows as were promised, with their numbers from `first` on.

    Where reading fails, every row that was promised and not read is an error.
    """
    seen = 0
    said = f"{promised} rows were promised"
    try:
        for batch in batches:
            for row in dictionaries(batch.slice(0, promised - seen)):
                yield first + seen, row
                seen += 1
    except Exception as error:  # Arrow and Lance raise nearly every type there is
        said = f"{type(error).__name__}: {error}"
    for number in range(first + seen, first + promised):
        yield number, RecordError(rule, f"{what} breaks off at row {first + seen}: {said}"[:300])


def records(
    rows: Iterable[tuple[int, Row | RecordError]], reader: RowReader
) -> Iterator[Record | BadRecord]:
    for number, row in rows:
        yield reader.record(row, f"row-{number}")


def joined(sizes: Iterable[int], most: int = ROWS_PER_UNIT) -> Iterator[tuple[int, int]]:
    """Spans of neighbours that have at most so many rows together, or are alone."""
    start = held = place = 0
    for place, size in enumerate(sizes, start=1):
        if place - 1 > start and held + size > most:
            yield start, place - 1
            start, held = place - 1, 0
        held += size
    if place > start:
        yield start, place


def texts_of(schema: pa.Schema, names: Collection[str]) -> list[str]:
    """Which of these columns hold text, and so may name files."""
    return [field.name for field in schema if field.name in names and _is_text(field.type)]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _distinct(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    seen: set[str] = set()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name not in seen:
            seen.add(name)
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
        said = f"column {name}: not UTF-8 at byte {error.start}: 0x{error.object[error.start]:02x}"
        return RecordError("text.encoding", said)
    except Exception as error:  # such as a time before the calendar
        return RecordError(
            "row.unreadable", f"column {name}: {type(error).__name__}: {error}"[:300]
        )
