"""The data types of reading: units of work, records, and bad records."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from store.config.limits import Role
from store.config.sources import DEFAULT_COLUMNS, Columns, Documents, Videos
from store.errors import RecordError

Format = Literal["webdataset", "folder", "parquet", "jsonl", "lance", "fetched", "pdf", "video"]

# Where a record has several parts of one role, the extension that comes first here is taken.
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


@dataclass(frozen=True, slots=True)
class Planned:
    """A record of a document or video, as it was counted when the units were listed.

    Attributes:
        path: of the file, relative to the drop's root.
        key: of the record.
        place: where it is in the file: page and figure, or the number of a span of time.
        error: why there is no sample.
        title: of the video.
    """

    path: str
    key: str
    place: tuple[int, int] = (0, 0)
    error: RecordError | None = None
    title: str = ""


@dataclass(frozen=True)
class Unit:
    """What one worker reads at once: a tar shard, files of up to 512 samples, part of a manifest,
    some documents or videos.

    Attributes:
        drop: the drop's name.
        name: unique in the drop.
        format: which reader reads it; `fetched` is the metadata that img2dataset wrote.
        root: the drop's root.
        paths: the unit's files, relative to `root`, with forward slashes.
        span: the part of a manifest, from a start up to a stop: row groups of a Parquet file,
            bytes of a JSONL file, fragments of a Lance dataset. None is the whole manifest.
        version: the version of a Lance dataset, else None.
        columns: what the columns of a manifest are.
        name_captions: the names of loose files are captions where there are no others.
        planned: the records of documents or videos, those of one file after each other.
        documents: how documents are read.
        videos: how videos are read.
    """

    drop: str
    name: str
    format: Format
    root: str
    paths: tuple[str, ...]
    span: tuple[int, int] | None = None
    version: int | None = None
    columns: Columns = DEFAULT_COLUMNS
    name_captions: bool = False
    planned: tuple[Planned, ...] = ()
    documents: Documents | None = None
    videos: Videos | None = None


@dataclass(slots=True)
class Record:
    """One input record with its undecoded parts, of which at least one is not None.

    `source` is the shard or the folder, relative to the drop's root. `key` is the WebDataset key,
    the manifest's key, or the file's path without its extension. Both are printable. `name_text` is
    the caption if there is no other.
    """

    source: str
    key: str
    image: bytes | None = None
    image_name: str | None = None
    audio: bytes | None = None
    audio_name: str | None = None
    text: bytes | None = None
    meta: bytes | None = None
    name_text: str | None = None


@dataclass(slots=True)
class BadRecord:
    """One input record that cannot be used, with the reason. It counts as an input record."""

    source: str
    key: str
    error: RecordError


def role_of(extension: str) -> Role | None:
    """The role of files with this extension (lower case, without a dot); None if there is none."""
    match = _ROLES.get(extension)
    return match[0] if match else None


def printable(name: str | bytes) -> str:
    """A name as valid, printable UTF-8 of at most 512 characters. Distinct names stay distinct.

    The backslash and characters that are not printable become escapes. A name that is too long is
    cut and ends in a hash of the full name.
    """
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    shown = name
    if "\\" in name or not name.isprintable():
        shown = "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in name)
    if len(shown) <= KEY_LENGTH:
        return shown
    digest = hashlib.sha256(shown.encode()).hexdigest()[:16]
    return f"{shown[: KEY_LENGTH - 17]}~{digest}"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is not valid UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return "\\\\" if character == "\\" else f"\\u{{{code:x}}}"


class Assembly:
    """Builds one record from its members, in whatever order they come.

    Of several parts with one role it takes the one whose extension comes first in EXTENSIONS, then
    the one whose name sorts first. So repacking a record in another order does not change it. An
    error in a part that is not taken is ignored.
    """

    def __init__(self, source: str, key: str):
        self._source = source
        self._key = key
        self._parts: dict[Role, tuple[tuple[int, str], bytes | RecordError]] = {}
        self._record_error: RecordError | None = None
        self._member_error: RecordError | None = None

    def add(self, name: str, extension: str, read: Callable[[Role], bytes]) -> None:
        """Add a member. It is read only if it is the best of its role so far.

        `read` returns the member's bytes and may raise RecordError.
        """
        match = _ROLES.get(extension)
        if match is None:
            return
        role, rank = match
        if role in self._parts and self._parts[role][0] <= (rank, name):
            return
        try:
            part: bytes | RecordError = read(role)
        except RecordError as error:
            part = error
        self._parts[role] = ((rank, name), part)

    def add_error(self, name: str, extension: str, error: RecordError) -> None:
        """Add a member that cannot be read. It fails the record only if it is taken as a part,
        or if the record has no other part."""
        self._member_error = self._member_error or error

        def fail(_: Role) -> bytes:
            raise error

        self.add(name, extension, fail)

    def fail(self, error: RecordError) -> None:
        """Make the record bad, whatever its parts are."""
        self._record_error = error

    def finish(self) -> Record | BadRecord:
        """The record, or a BadRecord with its first error."""
        errors = [part for _, part in self._parts.values() if isinstance(part, RecordError)]
        error = self._record_error or (errors[0] if errors else None)
        if error is None and not self._parts:
            error = self._member_error or RecordError(
                "record.empty",
                f"none of its files has a supported extension: {_supported_extensions()}",
            )
        if error is not None:
            return BadRecord(self._source, self._key, error)
        record = Record(self._source, self._key)
        for role, ((_, name), part) in self._parts.items():
            setattr(record, role, part)
            if role in ("image", "audio"):
                setattr(record, f"{role}_name", name)
        return record


def _supported_extensions() -> str:
    names = "; ".join(f"{role}: {' '.join(names)}" for role, names in EXTENSIONS.items())
    return names + "; PDF files and videos if the source has `documents: {}` and `videos: {}`"
