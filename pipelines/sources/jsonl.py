"""Reader of JSONL manifests. A unit is a range of bytes; it has the lines that begin in its range.

A blank line is no record. A line that is longer than a record's text and meta may be together is
skipped without keeping it in memory, and is a bad record. A gzipped file cannot be read from the
middle, so it is one unit.
"""

from collections.abc import Iterator
from contextlib import closing

from pipelines.sources.byte_streams import CHUNK, GZIP_MAGIC, Stream, open_stream
from pipelines.sources.filesystem import error_text, open_inside, size_of
from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.records import BadRecord, Record, Unit
from store import strict_json
from store.config.limits import Limits
from store.errors import RecordError

_UNIT_BYTES = 16 << 20


def spans(root: str, path: str) -> list[tuple[int, int]] | list[None]:
    """The byte range of each unit of a file.

    Raises:
        RecordError: as `open_inside` does.
    """
    try:
        with open_inside(root, path) as file:
            is_gzipped = file.read(2) == GZIP_MAGIC
            size = size_of(file)
    except OSError as error:
        raise RecordError("file.unreadable", error_text(error)) from error
    if is_gzipped:
        return [None]
    return [(start, min(start + _UNIT_BYTES, size)) for start in range(0, size, _UNIT_BYTES)]


def count(unit: Unit) -> int:
    """Count the lines of a unit that are not blank, and one more where the file is cut off."""
    try:
        stream = open_stream(unit.root, unit.paths[0])
    except RecordError:
        return 1
    with closing(stream):
        return sum(1 for _ in _lines(stream, unit.span, 0)) + bool(stream.problem)


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit. A line without a key has the key `byte-N`: its start."""
    reader = RowReader(unit, limits)
    try:
        for start, row in rows(unit, limits):
            yield reader.record(row, f"byte-{start}")
    except RecordError as error:
        yield reader.bad("byte-0", error)


def rows(unit: Unit, limits: Limits) -> Iterator[tuple[int, Row | RecordError]]:
    """The rows of a unit, each with the byte that its line starts at.

    Raises:
        RecordError: as `open_inside` does.
    """
    limit = limits.text_bytes + limits.meta_bytes
    stream = open_stream(unit.root, unit.paths[0])
    with closing(stream):
        for start, size, line in _lines(stream, unit.span, limit):
            yield start, _row(size, line, limit)
        if stream.problem:
            yield stream.position, RecordError("jsonl.truncated", stream.problem)


def _row(size: int, line: bytes | None, limit: int) -> Row | RecordError:
    if line is None:
        message = f"a line of {size} bytes, at most {limit} are read"
        return RecordError("jsonl.bytes", message, value=size, threshold=limit)
    try:
        row = strict_json.parse(line, "jsonl.invalid")
    except RecordError as error:
        return error
    if not isinstance(row, dict):
        return RecordError("jsonl.invalid", f"an object is needed, found {type(row).__name__}")
    return row


def _lines(
    stream: Stream, span: tuple[int, int] | None, limit: int
) -> Iterator[tuple[int, int, bytes | None]]:
    """The lines that are not blank, as (start, size, line).

    `start` is a byte of the file and `size` counts bytes. `line` is None where it is longer than
    `limit` bytes.
    """
    first, stop = span or (0, 1 << 62)
    # Start one byte early: if that byte is a newline, a line begins at `first`. If it is not, the
    # line that it is part of belongs to the range before.
    start = position = max(0, first - 1)
    stream.seek(position)
    line, size, blank = bytearray(), 0, True
    while start < stop and (chunk := stream.read(CHUNK)):
        if start < first and position >= stop:
            return
        done = 0
        while True:
            end = chunk.find(b"\n", done)
            piece = chunk[done : end if end >= 0 else len(chunk)]
            size += len(piece)
            blank = blank and not piece.strip()
            if size <= limit:
                line += piece
            else:
                line.clear()
            if end < 0:
                break
            if start >= first and not blank:
                yield start, size, bytes(line) if size <= limit else None
            done = end + 1
            start, size, blank = position + done, 0, True
            line.clear()
            if start >= stop:
                return
        position += len(chunk)
    if first <= start < stop and not blank:
        yield start, size, bytes(line) if size <= limit else None
