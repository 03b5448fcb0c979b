"""Reads the messages of a child from a pipe, up to a deadline."""

import json
import os
import selectors
import time
from dataclasses import dataclass
from typing import Any

from pipelines.sources.isolated.child import HEADER

_MAX_FIELDS, _MAX_BLOBS = 64 << 20, 512 << 20  # bytes of a message
_CHUNK = 1 << 20


class BadMessageError(Exception):
    """What came is no message."""


@dataclass(frozen=True, slots=True)
class Message:
    """Fields of JSON, and bytes."""

    fields: dict[str, Any]
    blobs: list[bytes]


class Pipe:
    """The output of a child.

    Args:
        descriptor: of the pipe's end that is read.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._data = bytearray()  # what came since the last message
        self._fields: tuple[dict[str, Any], list[int]] | None = None  # of a message on its way
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)

    def close(self) -> None:
        """Free what waits for the pipe; the pipe itself stays open."""
        self._selector.close()

    def message(self, deadline: float) -> Message:
        """The next message. What came of it stays if it is not complete by the deadline.

        Args:
            deadline: of `time.monotonic()`.

        Raises:
            TimeoutError: it is not complete by the deadline.
            EOFError: the pipe ends before.
            BadMessageError: it has another form, or is too large.
        """
        (size,) = HEADER.unpack(self._first(0, HEADER.size, deadline))
        if size > _MAX_FIELDS:
            raise BadMessageError(f"a message of {size} bytes")
        start = HEADER.size + size
        if self._fields is None:
            self._fields = _fields(self._first(HEADER.size, size, deadline))
        fields, sizes = self._fields
        blobs = []
        for size in sizes:
            blobs.append(self._first(start, size, deadline))
            start += size
        self._data, self._fields = self._data[start:], None
        return Message(fields, blobs)

    def _first(self, start: int, size: int, deadline: float) -> bytes:
        """Bytes from `start` on of what came since the last message."""
        while len(self._data) < start + size:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(self._descriptor, min(_CHUNK, start + size - len(self._data)))
            if not piece:
                raise EOFError
            self._data += piece
        return bytes(self._data[start : start + size])


def _fields(data: bytes) -> tuple[dict[str, Any], list[int]]:
    """The fields of a message, and the sizes of its blobs."""
    try:
        fields = json.loads(data)
        sizes = [int(size) for size in fields.pop("blobs")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadMessageError(f"a broken message: {error}") from error
    if min(sizes, default=0) < 0 or sum(sizes) > _MAX_BLOBS:
        raise BadMessageError(f"a message with {sum(sizes)} bytes")
    return fields, sizes
