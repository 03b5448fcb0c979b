"""What img2dataset says of its own work: the Parquet file beside a tar, or a folder, of one name.

Its rows are joined to the samples by their keys. A sample that is there is counted where it is
read. What is left are records of their own: what could not be fetched, in img2dataset's words, and
what was fetched and is lost.
"""

from collections.abc import Iterator
from contextlib import closing
from posixpath import basename, splitext

from pipelines.sources import parquet
from pipelines.sources.byte_streams import open_stream
from pipelines.sources.manifest_rows import RowReader, fetch_failure
from pipelines.sources.records import BadRecord, Record, Unit, printable
from pipelines.sources.tar import Member, walk
from store.config.limits import Limits
from store.errors import RecordError

KEY = "key"
_COLUMNS = [KEY, "status", "error_message", "url"]


def describes(root: str, path: str) -> bool:
    """Whether a Parquet file has img2dataset's keys, or cannot tell since it is broken."""
    try:
        with parquet.open_file(root, path) as file:
            names = set(file.schema_arrow.names)
    except RecordError:
        return True
    return {KEY, "status"} <= names


def count(unit: Unit) -> int:
    """The rows that have no sample: the keys and statuses have to be read for it."""
    return sum(1 for _ in read(unit, Limits()))


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    reader = RowReader(unit, limits)
    there: set[str] | None = None
    try:
        for number, row in parquet.rows(unit, _COLUMNS):
            default_key = f"row-{number}"
            if isinstance(row, RecordError):
                yield reader.bad(default_key, row)
                continue
            key = row.get(KEY)
            name = printable(str(key)) if key is not None else default_key
            error = next((v for v in row.values() if isinstance(v, RecordError)), None)
            error = error or fetch_failure(row)
            if error is None:
                there = _keys(unit) if there is None else there
                if name in there:
                    continue
                said = f"fetched from {row.get('url')}, and not in {unit.paths[1]}"
                error = RecordError("fetch.lost", said[:500])
            yield reader.bad(name, error)
    except RecordError as error:
        yield reader.bad(parquet.WHOLE, error)


def _keys(unit: Unit) -> set[str]:
    """The keys of the samples that are there, read or not."""
    if unit.paths[1].lower().endswith((".tar", ".tar.gz", ".tgz")):
        return _keys_of_tar(unit.root, unit.paths[1])
    return {printable(splitext(basename(path))[0]) for path in unit.paths[1:]}


def _keys_of_tar(root: str, path: str) -> set[str]:
    try:
        stream = open_stream(root, path)
    except RecordError:
        return set()
    with closing(stream):
        return {printable(event.key) for event in walk(stream) if isinstance(event, Member)}
