"""Bytes of a delivered file, plain or gzipped, read forwards; what is broken ends the stream.

Both streams give the same bytes however they are asked, up to the same broken place: whoever
counts by skipping and whoever reads see the same file.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from pipelines.sources.filesystem import open_inside, reason, size_of
from store.errors import RecordError

CHUNK = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"


class Stream(Protocol):
    """Forward reading. `problem` says why the stream ended early, where it did."""

    position: int
    problem: str | None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        ...

    def seek(self, position: int) -> bool:
        """Goes on to a later position; False where the stream ends before it."""
        ...

    def close(self) -> None: ...


def open_stream(root: str, path: str) -> Stream:
    """Opens a file as a stream; gzip is known by its first bytes, not by the file's name."""
    file = open_inside(root, path)
    try:
        magic, size = file.read(2), size_of(file)
    except OSError as error:
        file.close()
        raise RecordError("file.unreadable", reason(error)) from error
    return GzipStream(file) if magic == GZIP_MAGIC else PlainStream(file, size)


class PlainStream:
    """A file whose bytes can be passed over without reading them."""

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
            self.problem, data = reason(error), b""
        self.position += len(data)
        return data

    def seek(self, position: int) -> bool:
        self.position = min(position, self._size)
        return position <= self._size

    def close(self) -> None:
        self._file.close()


class GzipStream:
    """A gzipped file, decompressed as it goes, never more than a few blocks in memory."""

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
        while not self._buffer:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._buffer = memoryview(block)
        return True

    def _decompress(self) -> Iterator[bytes]:
        # The steps depend on the file alone, never on how much was asked for: zlib loses the
        # output of the call that fails, and it must be the same output each time.
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
                    self.problem = f"the gzip data is broken: {reason(error)}"
                    return
                data = engine.unconsumed_tail
                if block:
                    yield block
            data = engine.unused_data or self._file.read(CHUNK)
            if not data.startswith(GZIP_MAGIC):  # gzip, too, ignores what comes after the end
                return
