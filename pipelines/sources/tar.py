"""The headers of a tar, one after another, even if the tar is damaged.

The standard library's tarfile keeps every header in memory, reads an extended header of any
length into memory, and takes a damaged header in the middle for the end of the archive. This
reader reports a damaged section and goes on at the next valid header.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.sources.byte_streams import Stream
from store.errors import RecordError

BLOCK = 512
EXTENDED_LIMIT = 1024 * 1024

_FILES = b"07\0"
_LONG_NAME, _PAX = b"L", b"x"
_NOT_MEMBERS = b"5KgVX"  # folders, long link names, global defaults, volume labels
_WITHOUT_DATA = b"123456"


class Member(NamedTuple):
    """A member that belongs to a record. The stream is at the first byte of its data.

    `key` is the path up to the first dot of the base name, `extension` what follows the dot in
    lower case, `size` the size of the data in bytes.
    """

    name: bytes
    key: bytes
    extension: str
    size: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """The tar ends inside the data of the previous member. It is the last event."""

    error: RecordError


@dataclass(frozen=True, slots=True)
class Damage:
    """A section, from byte `position` on, that belongs to no member that is known."""

    position: int
    error: RecordError


class _Header(NamedTuple):
    name: bytes
    size: int
    type: bytes


def walk(stream: Stream) -> Iterator[Member | Cut | Damage]:
    """The members of a tar in their order, without folders and hidden files.

    The caller may read a member's data before it takes the next event. Archives that were
    concatenated are read to the end. A tar without an end mark is reported as Damage at its end.
    """
    has_header = ended = False
    extended: dict[str, bytes] = {}
    while len(block := stream.read(BLOCK)) == BLOCK:
        if not any(block):
            ended = True
            continue
        header = _parse(block)
        if header is None:
            position = stream.position - BLOCK
            header = _next_header(stream)
            has_header = has_header or header is not None
            yield Damage(position, _corrupt(position) if has_header else _unreadable(stream))
            if header is None:
                return
            extended = {}
        has_header, ended = True, False

        start = stream.position
        if header.type in (_LONG_NAME, _PAX):
            if header.size > EXTENDED_LIMIT:
                yield Damage(start, _corrupt(start))
            else:
                extended |= _extended(header.type, stream.read(header.size))
            stream.seek(start + _padded(header.size))
            continue

        member, size = _member(header, extended)
        extended = {}
        if member:
            yield member
        if not stream.seek(start + size):
            error = _truncated(f"the tar ends inside a member of {size} bytes", stream)
            yield Cut(error) if member else Damage(start, error)
            return
        stream.seek(start + _padded(size))

    if not has_header and not ended:
        yield Damage(0, _unreadable(stream))
    elif not ended:
        message = "the tar has no end mark, so members may be missing at its end"
        yield Damage(stream.position, _truncated(message, stream))


def _corrupt(position: int) -> RecordError:
    return RecordError("tar.corrupt", f"no valid header at byte {position}")


def _unreadable(stream: Stream) -> RecordError:
    return RecordError("tar.unreadable", "not a tar: it has no valid header" + _problem(stream))


def _truncated(message: str, stream: Stream) -> RecordError:
    return RecordError("tar.truncated", message + _problem(stream))


def _problem(stream: Stream) -> str:
    return f" ({stream.problem})" if stream.problem else ""


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _next_header(stream: Stream) -> _Header | None:
    """Skip to the next valid header; None where there is none."""
    while len(block := stream.read(BLOCK)) == BLOCK:
        # Headers of old tars have no magic. It is required here, since the checksum of a block of
        # data may be right by chance.
        if block[257:262] == b"ustar" and (header := _parse(block)):
            return header
    return None


def _parse(block: bytes) -> _Header | None:
    """The header in a block; None where its checksum or its size is wrong."""
    field = block[148:156]
    if _number(field) != _sum(block) - _sum(field) + len(field) * ord(" "):
        return None
    size = _number(block[124:136])
    if size is None:
        return None
    name = _until_nul(block[:100])
    prefix = _until_nul(block[345:500])
    if prefix and block[257:263] == b"ustar\0":  # GNU tars keep other data in the prefix field
        name = prefix + b"/" + name
    return _Header(name, size, block[156:157])


def _sum(block: bytes) -> int:
    """The sum of at most 512 bytes.

    The lower half of Adler-32 is 1 + the sum modulo 65,521, which 256 bytes do not reach. It takes
    a fifth of the time of `sum`.
    """
    first, second = zlib.adler32(block[: BLOCK // 2]), zlib.adler32(block[BLOCK // 2 :])
    return (first & 0xFFFF) + (second & 0xFFFF) - 2


def _number(field: bytes) -> int | None:
    if field[0] == 0x80:  # GNU's binary form, for numbers that do not fit in octal digits
        return int.from_bytes(field[1:], "big")
    try:
        return int(_until_nul(field).strip() or b"0", 8)
    except ValueError:
        return None


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _extended(kind: bytes, body: bytes) -> dict[str, bytes]:
    """The `path` and `size` that an extended header gives for the next member."""
    if kind == _LONG_NAME:
        return {"path": _until_nul(body)}
    fields = {}
    while body:
        length = body.partition(b" ")[0]
        if not length.isdigit() or len(length) > 9 or not len(length) < int(length) <= len(body):
            break
        keyword, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        if keyword in (b"path", b"size"):
            fields[keyword.decode()] = value
        body = body[int(length) :]
    return fields


def _member(header: _Header, extended: dict[str, bytes]) -> tuple[Member | None, int]:
    """The member (None where it belongs to no record), and the size of its data in bytes."""
    size = header.size
    digits = extended.get("size", b"")
    if digits.isdigit() and len(digits) < 20:
        size = int(digits)
    if header.type in _WITHOUT_DATA:
        size = 0
    name = extended.get("path", header.name)
    if header.type in _NOT_MEMBERS or name.endswith(b"/") or _is_hidden(name):
        return None, size
    folder, slash, base = name.rpartition(b"/")
    stem, _, extension = base.partition(b".")
    key = (folder + slash + stem).removeprefix(b"./")
    is_file = header.type in _FILES
    return Member(name, key, extension.decode("latin-1").lower(), size, is_file), size


def _is_hidden(name: bytes) -> bool:
    return any(part.startswith(b".") and part not in (b".", b"..") for part in name.split(b"/"))
