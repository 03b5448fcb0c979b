"""What reading gives: units of work, records, and the bad ones among them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from store.config.limits import Role
from store.config.sources import DEFAULT_COLUMNS, Columns
from store.errors import RecordError

Format = Literal["webdataset", "folder", "parquet", "jsonl", "lance", "fetched"]

# Where one record has several parts of a role, the extension named first here is taken.
EXTENSIONS: dict[Role, tuple[str, ...]] = {
    "image": ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"),
    "audio": ("wav", "flac", "ogg", "oga", "opus", "mp3"),
    "text": ("txt", "caption"),
    "meta": ("json",),
}
_ROLES = {
    extension: (role, rank)
    for role, extensions in EXTENSIONS.items()
    for rank, extension in enumerate(extensions)
}
KEY_LENGTH = 512


@dataclass(frozen=True)
class Unit:
    """What one worker reads in one go: a tar shard, the files of up to 512 samples, or a part of a
    manifest.

    `name` is unique in the drop; `paths` are relative to `root`, with forward slashes. `span` is
    a manifest's part, from its first up to its end: row groups of a Parquet file, bytes of a JSONL
    file, fragments of a Lance dataset (whose `version` is told); None is all of it.
    """

    drop: str
    name: str
    format: Format
    root: str
    paths: tuple[str, ...]
    span: tuple[int, int] | None = None
    version: int | None = None
    columns: Columns = DEFAULT_COLUMNS


@dataclass(slots=True)
class Record:
    """The undecoded parts of one input record; at least one of them is there.

    `source` is the shard, or the folder, relative to the drop's root; `key` is the WebDataset
    key, or the file's path without its extension. Both are printable.
    """

    source: str
    key: str
    image: bytes | None = None
    image_name: str | None = None
    audio: bytes | None = None
    audio_name: str | None = None
    text: bytes | None = None
    meta: bytes | None = None


@dataclass(slots=True)
class BadRecord:
    """One input record that cannot be used, and why: it stands in the count like any other."""

    source: str
    key: str
    error: RecordError


def role_of(extension: str) -> Role | None:
    """The part that a lower-case extension without its dot stands for, if any."""
    known = _ROLES.get(extension)
    return known[0] if known else None


def printable(name: str | bytes) -> str:
    """A name as valid, printable UTF-8 of at most 512 characters; distinct names stay distinct.

    Whatever is not printable, and the backslash, is written as an escape; a longer name ends in
    a hash of the whole.
    """
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    shown = "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in name)
    if len(shown) <= KEY_LENGTH:
        return shown
    digest = hashlib.sha256(shown.encode()).hexdigest()[:16]
    return f"{shown[: KEY_LENGTH - 17]}~{digest}"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as Python carries it
        return f"\\x{code - 0xDC00:02x}"
    return "\\\\" if character == "\\" else f"\\u{{{code:x}}}"


class Assembly:
    """Puts one record together from its members, in whatever order they come.

    Of several parts of one role it takes the one whose extension comes first in EXTENSIONS, then
    the one whose name sorts first, so that repacking a record does not change it. A problem with
    a part that was not taken does not matter.
    """

    def __init__(self, source: str, key: str):
        self._source = source
        self._key = key
        self._parts: dict[Role, tuple[tuple[int, str], bytes | RecordError]] = {}
        self._spoiled: RecordError | None = None
        self._refused: RecordError | None = None

    def offer(self, name: str, extension: str, read: Callable[[Role], bytes]) -> None:
        """Reads a member if it is the best of its role so far; `read` may raise RecordError."""
        known = _ROLES.get(extension)
        if known is None:
            return
        role, rank = known
        if role in self._parts and self._parts[role][0] <= (rank, name):
            return
        try:
            part: bytes | RecordError = read(role)
        except RecordError as error:
            part = error
        self._parts[role] = ((rank, name), part)

    def refuse(self, name: str, extension: str, error: RecordError) -> None:
        """Notes a member that is there but cannot be read: it matters if it was to be a part."""
        self._refused = self._refused or error

        def fail(_: Role) -> bytes:
            raise error

        self.offer(name, extension, fail)

    def spoil(self, error: RecordError) -> None:
        """Makes the whole record bad."""
        self._spoiled = error

    def finish(self) -> Record | BadRecord:
        """The record, or the first thing that is wrong with it."""
        errors = [part for _, part in self._parts.values() if isinstance(part, RecordError)]
        error = self._spoiled or (errors[0] if errors else None)
        if error is None and not self._parts:
            error = self._refused or RecordError(
                "record.empty", f"no part with a known extension: {_known_extensions()}"
            )
        if error is not None:
            return BadRecord(self._source, self._key, error)
        record = Record(self._source, self._key)
        for role, ((_, name), part) in self._parts.items():
            setattr(record, role, part)
            if role in ("image", "audio"):
                setattr(record, f"{role}_name", name)
        return record


def _known_extensions() -> str:
    return "; ".join(f"{role}: {' '.join(known)}" for role, known in EXTENSIONS.items())
