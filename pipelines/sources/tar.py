"""The headers of a tar, one after another, whatever state the tar is in.

The standard library's tarfile keeps every header in memory, reads an extended header of any
length whole, and takes a damaged header in the middle for the end of the archive. Here a damaged
stretch is reported and reading goes on at the next header that is whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.sources.byte_streams import Stream
from store.errors import RecordError

BLOCK = 512
EXTENDED_LIMIT = 1024 * 1024

_FILES = b"07\0"
_LONG_NAME, _PAX = b"L", b"x"
_NOT_MEMBERS = b"5KgVX"  # folders, long link names, global defaults, volume labels
_WITHOUT_DATA = b"123456"


@dataclass(frozen=True, slots=True)
class Member:
    """One member that belongs to a record; the stream stands at its first byte."""

    name: bytes
    key: bytes
    extension: str
    size: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """The member just given is not whole; nothing comes after it."""

    error: RecordError


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch from `position` on that belongs to no known member."""

    position: int
    error: RecordError


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    size: int
    type: bytes


def walk(stream: Stream) -> Iterator[Member | Cut | Damage]:
    """The members of a tar in their order; folders and hidden files are left out.

    The caller may read a member's data before it asks for the next one. Archives joined end to
    end are read through. A tar without its end mark counts as cut: Damage, at its end.
    """
    readable = ended = False
    extended: dict[str, bytes] = {}
    while len(block := stream.read(BLOCK)) == BLOCK:
        if not any(block):
            ended = True
            continue
        header = _parse(block)
        if header is None:
            position = stream.position - BLOCK
            header = _next_header(stream)
            readable = readable or header is not None
            yield Damage(position, _corrupt(position) if readable else _unreadable(stream))
            if header is None:
                return
            extended = {}
        readable, ended = True, False

        begin = stream.position
        if header.type in (_LONG_NAME, _PAX):
            if header.size > EXTENDED_LIMIT:
                yield Damage(begin, _corrupt(begin))
            else:
                extended |= _extended(header.type, stream.read(header.size))
            stream.seek(begin + _padded(header.size))
            continue

        member, size = _member(header, extended)
        extended = {}
        if member:
            yield member
        if not stream.seek(begin + size):
            error = _truncated(f"the tar ends inside a member of {size} bytes", stream)
            yield Cut(error) if member else Damage(begin, error)
            return
        stream.seek(begin + _padded(size))

    if not readable and not ended:
        yield Damage(0, _unreadable(stream))
    elif not ended:
        text = "the tar has no end mark, so what came after is lost"
        yield Damage(stream.position, _truncated(text, stream))


def _corrupt(position: int) -> RecordError:
    return RecordError("tar.corrupt", f"no valid header at byte {position}")


def _unreadable(stream: Stream) -> RecordError:
    return RecordError("tar.unreadable", "not a tar: it has no valid header" + _because(stream))


def _truncated(text: str, stream: Stream) -> RecordError:
    return RecordError("tar.truncated", text + _because(stream))


def _because(stream: Stream) -> str:
    return f" ({stream.problem})" if stream.problem else ""


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _next_header(stream: Stream) -> _Header | None:
    while len(block := stream.read(BLOCK)) == BLOCK:
        # Old tars have no magic, but data that happens to add up must not pass for a header.
        if block[257:262] == b"ustar" and (header := _parse(block)):
            return header
    return None


def _parse(block: bytes) -> _Header | None:
    checksum = _number(block[148:156])
    if checksum != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        return None
    size = _number(block[124:136])
    if size is None:
        return None
    name = _until_nul(block[:100])
    prefix = _until_nul(block[345:500])
    if prefix and block[257:263] == b"ustar\0":  # GNU keeps other things in the prefix's place
        name = prefix + b"/" + name
    return _Header(name, size, block[156:157])


def _number(field: bytes) -> int | None:
    if field[0] == 0x80:  # GNU's binary form, for what octal digits cannot hold
        return int.from_bytes(field[1:], "big")
    try:
        return int(_until_nul(field).strip() or b"0", 8)
    except ValueError:
        return None


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _extended(kind: bytes, body: bytes) -> dict[str, bytes]:
    """What an extended header says about the member after it: its `path`, its `size`."""
    if kind == _LONG_NAME:
        return {"path": _until_nul(body)}
    found = {}
    while body:
        length = body.partition(b" ")[0]
        if not length.isdigit() or len(length) > 9 or not len(length) < int(length) <= len(body):
            break
        keyword, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        if keyword in (b"path", b"size"):
            found[keyword.decode()] = value
        body = body[int(length) :]
    return found


def _member(header: _Header, extended: dict[str, bytes]) -> tuple[Member | None, int]:
    """The member, or None where it is part of no record; and how many bytes of data follow."""
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
