"""Lance datasets: units are fragments of one version, which count their own rows."""

import os
from collections.abc import Collection, Iterator

import lance

from pipelines.sources.arrow_rows import joined, records, rows_at_once, stretch, texts_of
from pipelines.sources.filesystem import reason
from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.parquet import WHOLE
from pipelines.sources.records import BadRecord, Record, Unit
from store.config.limits import Limits
from store.errors import RecordError


def open_dataset(root: str, path: str, version: int | None = None) -> lance.LanceDataset:
    """Raises RecordError: `lance.unreadable`, `file.outside` where a link is among its files."""
    uri = f"{root}/{path}"
    linked = "://" not in root and next(_links(uri), None)
    if linked:
        raise RecordError("file.outside", f"{linked} is a link, which is not followed")
    try:
        return lance.dataset(uri, version=version)
    except Exception as error:
        raise _unreadable(error) from error


def spans(root: str, path: str) -> tuple[int, list[tuple[int, int]]]:
    """The version to read, and the fragments of each unit. Raises RecordError as `open_dataset`."""
    dataset = open_dataset(root, path)
    counts = [rows for _, rows in _counted(dataset.get_fragments())]
    return dataset.version, list(joined(counts))


def count(unit: Unit) -> int:
    """The rows of a unit, as its fragments count them."""
    try:
        return sum(rows for _, rows in _fragments(unit))
    except RecordError:
        return 1


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """A row without a key has the key `row-N`, N being its address in the dataset."""
    reader = RowReader(unit, limits)
    try:
        yield from records(rows(unit), reader)
    except RecordError as error:
        yield reader.bad(WHOLE, error)


def texts(unit: Unit, names: Collection[str]) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows of those of these columns that hold text. Raises RecordError as `open_dataset` does."""
    schema = open_dataset(unit.root, unit.paths[0], unit.version).schema
    if columns := texts_of(schema, names):
        yield from rows(unit, columns)


def rows(unit: Unit, columns: list[str] | None = None) -> Iterator[tuple[int, Row | RecordError]]:
    """Rows by their addresses, of these columns. Raises RecordError as `open_dataset` does."""
    for fragment, promised in _fragments(unit):
        held = sum(f.file_size_bytes or 0 for f in fragment.data_files())
        batches = fragment.to_batches(
            columns=columns, batch_size=rows_at_once(promised, held), batch_readahead=1
        )
        number = fragment.fragment_id
        yield from stretch(batches, promised, number << 32, "lance.corrupt", f"fragment {number}")


def _fragments(unit: Unit) -> list[tuple[lance.LanceFragment, int]]:
    dataset = open_dataset(unit.root, unit.paths[0], unit.version)
    fragments = dataset.get_fragments()
    return _counted(fragments[slice(*unit.span)] if unit.span else fragments)


def _counted(fragments: list[lance.LanceFragment]) -> list[tuple[lance.LanceFragment, int]]:
    try:
        return [(fragment, fragment.count_rows()) for fragment in fragments]
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> RecordError:
    # On broken files Lance raises nearly every type there is.
    said = f"its rows cannot be counted: {type(error).__name__}: {reason(error)}"
    return RecordError("lance.unreadable", said[:300])


def _links(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        yield from (n for n in (*folders, *files) if os.path.islink(os.path.join(parent, n)))
