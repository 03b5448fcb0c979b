"""Byte streams of delivered files, plain or gzipped, read forwards.

A broken file ends its stream early. Both streams give the same bytes up to the same broken
position, whether they are read or skipped and in whatever steps. So counting, which skips, and
reading see the same file.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from pipelines.sources.filesystem import error_text, open_inside, size_of
from store.errors import RecordError

CHUNK = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"


class Stream(Protocol):
    """A stream that is read forwards.

    `position` counts (decompressed) bytes. `problem` says why the stream ended early; it is None
    where it did not.
    """

    position: int
    problem: str | None

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        ...

    def seek(self, position: int) -> bool:
        """Go forward to a position. Returns False where the stream ends before it."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_stream(root: str, path: str) -> Stream:
    """Open a file as a stream. Gzip is recognised by the first bytes, not by the file's name.

    Raises:
        RecordError: as `open_inside` does.
    """
    file = open_inside(root, path)
    try:
        magic, size = file.read(2), size_of(file)
    except OSError as error:
        file.close()
        raise RecordError("file.unreadable", error_text(error)) from error
    return GzipStream(file) if magic == GZIP_MAGIC else PlainStream(file, size)


class PlainStream:
    """An uncompressed file, in which bytes are skipped without reading them."""

    def __init__(self, file: BinaryIO, size: int):
        self._file = file
        self._size = size
        self.position = 0
        self.problem: str | None = None

    def read(self, size: int) -> bytes:
        try:
            self._file.seek(self.position)
            data = self._file.read(min(size, max(0, self._size - self.position)))
        except OSError as error:
            self.problem, data = error_text(error), b""
        self.position += len(data)
        return data

    def seek(self, position: int) -> bool:
        self.position = min(position, self._size)
        return position <= self._size

    def close(self) -> None:
        self._file.close()


class GzipStream:
    """A gzipped file, decompressed as it is read, with a few blocks at most in memory."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._blocks = self._decompress()
        self._buffer = memoryview(b"")
        self.position = 0
        self.problem: str | None = None

    def read(self, size: int) -> bytes:
        pieces = []
        while size > 0 and self._fill():
            piece = self._buffer[:size]
            self._buffer = self._buffer[size:]
            size -= len(piece)
            self.position += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def seek(self, position: int) -> bool:
        while self.position < position and self._fill():
            step = min(len(self._buffer), position - self.position)
            self._buffer = self._buffer[step:]
            self.position += step
        return self.position == position

    def close(self) -> None:
        self._file.close()

    def _fill(self) -> bool:
        """Make the buffer non-empty. Returns False at the end of the stream."""
        while not self._buffer:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._buffer = memoryview(block)
        return True

    def _decompress(self) -> Iterator[bytes]:
        # The calls of zlib depend on the file alone, never on the sizes that callers read: zlib
        # loses the output of a call that fails, and the loss must be the same each time.
        data = b""
        while True:
            engine = zlib.decompressobj(wbits=31)
            while not engine.eof:
                try:
                    data = data or self._file.read(CHUNK)
                    if not data:
                        self.problem = "the gzip data is cut off"
                        return
                    block = engine.decompress(data, CHUNK)
                except (OSError, zlib.error) as error:
                    self.problem = f"the gzip data is broken: {error_text(error)}"
                    return
                data = engine.unconsumed_tail
                if block:
                    yield block
            data = engine.unused_data or self._file.read(CHUNK)
            if not data.startswith(GZIP_MAGIC):  # the gzip tool ignores such trailing bytes too
                return
