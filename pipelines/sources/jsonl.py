"""JSONL manifests: units are byte ranges, and a line belongs to the one that it begins in.

A blank line is no record. A line longer than a record's text and meta may be together is passed
over without being kept. A gzipped file has no ranges and is one unit.
"""

from collections.abc import Iterator
from contextlib import closing

from pipelines.sources.byte_streams import CHUNK, GZIP_MAGIC, Stream, open_stream
from pipelines.sources.filesystem import open_inside, reason, size_of
from pipelines.sources.manifest_rows import Row, RowReader
from pipelines.sources.records import BadRecord, Record, Unit
from store import strict_json
from store.config.limits import Limits
from store.errors import RecordError

_SPAN = 16 << 20


def spans(root: str, path: str) -> list[tuple[int, int]] | list[None]:
    """The byte ranges of each unit. Raises RecordError as `open_inside` does."""
    try:
        with open_inside(root, path) as file:
            is_gzipped = file.read(2) == GZIP_MAGIC
            size = size_of(file)
    except OSError as error:
        raise RecordError("file.unreadable", reason(error)) from error
    if is_gzipped:
        return [None]
    return [(start, min(start + _SPAN, size)) for start in range(0, size, _SPAN)]


def count(unit: Unit) -> int:
    """The lines of a unit that are not blank, none of them kept; and one where it breaks off."""
    try:
        stream = open_stream(unit.root, unit.paths[0])
    except RecordError:
        return 1
    with closing(stream):
        return sum(1 for _ in _lines(stream, unit.span, 0)) + bool(stream.problem)


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """A line without a key has the key `byte-N`, N being where it begins."""
    reader = RowReader(unit, limits)
    try:
        for begin, row in rows(unit, limits):
            yield reader.record(row, f"byte-{begin}")
    except RecordError as error:
        yield reader.bad("byte-0", error)


def rows(unit: Unit, limits: Limits) -> Iterator[tuple[int, Row | RecordError]]:
    """Lines by where they begin. Raises RecordError as `open_inside` does."""
    most = limits.text_bytes + limits.meta_bytes
    stream = open_stream(unit.root, unit.paths[0])
    with closing(stream):
        for begin, size, line in _lines(stream, unit.span, most):
            yield begin, _row(size, line, most)
        if stream.problem:
            yield stream.position, RecordError("jsonl.truncated", stream.problem)


def _row(size: int, line: bytes | None, most: int) -> Row | RecordError:
    if line is None:
        said = f"a line of {size} bytes, at most {most} are read"
        return RecordError("jsonl.bytes", said, value=size, threshold=most)
    try:
        row = strict_json.parse(line, "jsonl.invalid")
    except RecordError as error:
        return error
    if not isinstance(row, dict):
        return RecordError("jsonl.invalid", f"an object is needed, found {type(row).__name__}")
    return row


def _lines(
    stream: Stream, span: tuple[int, int] | None, most: int
) -> Iterator[tuple[int, int, bytes | None]]:
    """Where each line begins, how long it is, and the line, where it is not longer than `most`."""
    start, stop = span or (0, 1 << 62)
    # What begins one byte earlier is the end of a line that belongs to the range before.
    begin = at = max(0, start - 1)
    stream.seek(at)
    kept, size, blank = bytearray(), 0, True
    while begin < stop and (chunk := stream.read(CHUNK)):
        if begin < start and at >= stop:
            return
        done = 0
        while True:
            end = chunk.find(b"\n", done)
            piece = chunk[done : end if end >= 0 else len(chunk)]
            size += len(piece)
            blank = blank and not piece.strip()
            if size <= most:
                kept += piece
            else:
                kept.clear()
            if end < 0:
                break
            if begin >= start and not blank:
                yield begin, size, bytes(kept) if size <= most else None
            done = end + 1
            begin, size, blank = at + done, 0, True
            kept.clear()
            if begin >= stop:
                return
        at += len(chunk)
    if start <= begin < stop and not blank:
        yield begin, size, bytes(kept) if size <= most else None
