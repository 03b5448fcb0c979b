"""Reader of Lance datasets. A unit is some fragments of one version; they count their own rows."""

import os
from collections.abc import Collection, Iterator

import lance

from pipelines.sources.arrow_rows import (
    batch_size,
    group_spans,
    numbered_rows,
    records,
    text_columns,
)
from pipelines.sources.filesystem import error_text
from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.parquet import WHOLE_FILE_KEY
from pipelines.sources.records import BadRecord, Record, Unit
from store.config.limits import Limits
from store.errors import RecordError


def open_dataset(root: str, path: str, version: int | None = None) -> lance.LanceDataset:
    """Open a dataset.

    Raises:
        RecordError: `lance.unreadable`; `file.outside` where one of its files is a link.
    """
    uri = f"{root}/{path}"
    link = "://" not in root and next(_links(uri), None)
    if link:
        raise RecordError("file.outside", f"{link} is a link, which is not followed")
    try:
        return lance.dataset(uri, version=version)
    except Exception as error:
        raise _unreadable(error) from error


def spans(root: str, path: str) -> tuple[int, list[tuple[int, int]]]:
    """The version to read, and the fragments (start, stop) of each unit.

    Raises:
        RecordError: as `open_dataset` does.
    """
    dataset = open_dataset(root, path)
    counts = [rows for _, rows in _with_row_counts(dataset.get_fragments())]
    return dataset.version, list(group_spans(counts))


def count(unit: Unit) -> int:
    """Count the rows of a unit by the metadata of its fragments."""
    try:
        return sum(rows for _, rows in _fragments(unit))
    except RecordError:
        return 1


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit. A row without a key has the key `row-N`: its row address."""
    reader = RowReader(unit, limits)
    try:
        yield from records(rows(unit), reader)
    except RecordError as error:
        yield reader.bad(WHOLE_FILE_KEY, error)


def texts(unit: Unit, names: Collection[str]) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows with those of the named columns that hold text.

    Raises:
        RecordError: as `open_dataset` does.
    """
    schema = open_dataset(unit.root, unit.paths[0], unit.version).schema
    if columns := text_columns(schema, names):
        yield from rows(unit, columns)


def rows(unit: Unit, columns: list[str] | None = None) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows with their row addresses.

    Args:
        unit: the fragments to read.
        columns: the columns to read; None reads all.

    Raises:
        RecordError: as `open_dataset` does.
    """
    for fragment, row_count in _fragments(unit):
        size = sum(f.file_size_bytes or 0 for f in fragment.data_files())
        batches = fragment.to_batches(
            columns=columns, batch_size=batch_size(row_count, size), batch_readahead=1
        )
        number = fragment.fragment_id
        first = number << 32  # a row address is the fragment's id and the row in the fragment
        yield from numbered_rows(batches, row_count, first, "lance.corrupt", f"fragment {number}")


def _fragments(unit: Unit) -> list[tuple[lance.LanceFragment, int]]:
    dataset = open_dataset(unit.root, unit.paths[0], unit.version)
    fragments = dataset.get_fragments()
    return _with_row_counts(fragments[slice(*unit.span)] if unit.span else fragments)


def _with_row_counts(
    fragments: list[lance.LanceFragment],
) -> list[tuple[lance.LanceFragment, int]]:
    try:
        return [(fragment, fragment.count_rows()) for fragment in fragments]
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> RecordError:
    # On broken files Lance raises nearly every type of error.
    message = f"its rows cannot be counted: {type(error).__name__}: {error_text(error)}"
    return RecordError("lance.unreadable", message[:300])


def _links(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        yield from (n for n in (*folders, *files) if os.path.islink(os.path.join(parent, n)))
