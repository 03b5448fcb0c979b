"""Reader of img2dataset's metadata: the Parquet file beside a tar, or a folder, of the same name.

Its rows are joined to the samples by their keys. A row whose sample exists is left out, since the
sample is counted where the tar or folder is read. The other rows are bad records: those that
img2dataset could not fetch (`fetch.failed`, with its own message), and those that it fetched but
whose sample is missing (`fetch.lost`).
"""

from collections.abc import Iterator
from contextlib import closing
from posixpath import basename, splitext

from pipelines.sources import parquet
from pipelines.sources.byte_streams import open_stream
from pipelines.sources.file_kinds import is_tar
from pipelines.sources.manifest_rows import RowReader, fetch_failure
from pipelines.sources.records import BadRecord, Record, Unit, printable
from pipelines.sources.tar import Member, walk
from store.config.limits import Limits
from store.errors import RecordError

KEY = "key"
_COLUMNS = [KEY, "status", "error_message", "url"]


def describes(root: str, path: str) -> bool:
    """Whether a Parquet file has img2dataset's columns. True for a file that cannot be read."""
    try:
        with parquet.open_file(root, path) as file:
            names = set(file.schema_arrow.names)
    except RecordError:
        return True
    return {KEY, "status"} <= names


def count(unit: Unit) -> int:
    """Count the rows that have no sample. The keys and statuses have to be read for it."""
    return sum(1 for _ in read(unit, Limits()))


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """The rows that have no sample, as bad records."""
    reader = RowReader(unit, limits)
    sample_keys: set[str] | None = None
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
                sample_keys = _sample_keys(unit) if sample_keys is None else sample_keys
                if name in sample_keys:
                    continue
                message = f"fetched from {row.get('url')}, but missing in {unit.paths[1]}"
                error = RecordError("fetch.lost", message[:500])
            yield reader.bad(name, error)
    except RecordError as error:
        yield reader.bad(parquet.WHOLE_FILE_KEY, error)


def _sample_keys(unit: Unit) -> set[str]:
    """The keys of the samples that the tar or folder holds, whether they can be read or not."""
    if is_tar(unit.paths[1]):
        return _keys_of_tar(unit.root, unit.paths[1])
    return {printable(splitext(basename(path))[0]) for path in unit.paths[1:]}


def _keys_of_tar(root: str, path: str) -> set[str]:
    try:
        stream = open_stream(root, path)
    except RecordError:
        return set()
    with closing(stream):
        return {printable(event.key) for event in walk(stream) if isinstance(event, Member)}
