"""Where delivered files lie: a local folder, or whatever fsspec knows (s3://, gs://, memory://).

A local folder is walked and opened by the operating system, and links are never followed out of
it. Elsewhere there are no links; credentials come from the environment.
"""

import io
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from posixpath import basename, join
from typing import Any, BinaryIO, Protocol, cast

from store.errors import RecordError, SourceError

_READ_AHEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Name:
    """An entry of a folder; a link to a folder is a folder too, though none that is gone into."""

    name: str
    is_folder: bool
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What tells a file from what it was before: `stamp` is a time in ns, or an object's ETag."""

    size: int
    stamp: str
    changed: float


class FileSystem(Protocol):
    """A folder, wherever it lies. Paths are relative to it, with forward slashes."""

    def is_folder(self) -> bool: ...

    def names(self, folder: str) -> list[Name]:
        """Entries, sorted, hidden ones left out. Raises OSError."""
        ...

    def facts(self, path: str) -> Facts:
        """Raises OSError."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A file for reading. Raises RecordError as `open_inside` does."""
        ...


def file_system(root: str) -> FileSystem:
    """Raises SourceError where no file system for the root's protocol is installed."""
    return _Remote(root) if "://" in root else _Local(root)


def open_inside(root: str, path: str) -> BinaryIO:
    """Opens a regular file of a drop for reading.

    Raises RecordError: `file.outside` for a link that leads out of the root, `file.not_a_file`
    for folders, pipes and devices (a pipe would be waited on for ever), `file.unreadable` for
    the rest.
    """
    return file_system(root).open(path)


def size_of(file: BinaryIO) -> int:
    """An open file's bytes; it stands at its beginning afterwards. Raises OSError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def reason(error: Exception) -> str:
    """What an error says, in words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)


class _Local:
    def __init__(self, root: str):
        self.root = root

    def is_folder(self) -> bool:
        return os.path.isdir(self.root)

    def names(self, folder: str) -> list[Name]:
        with os.scandir(join(self.root, folder)) as entries:
            found = [
                Name(e.name, _leads_to_folder(e), e.is_symlink())
                for e in entries
                if not e.name.startswith(".")
            ]
        return sorted(found, key=lambda n: n.name)

    def facts(self, path: str) -> Facts:
        found = os.lstat(join(self.root, path))
        return Facts(found.st_size, str(found.st_mtime_ns), found.st_mtime)

    def open(self, path: str) -> BinaryIO:
        full = Path(self.root, path)
        try:
            if not full.resolve(strict=True).is_relative_to(Path(self.root).resolve()):
                said = "a link or path that leads out of its drop is not followed"
                raise RecordError("file.outside", said)
            descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            file = os.fdopen(descriptor, "rb", closefd=True)
        except IsADirectoryError as error:
            raise RecordError("file.not_a_file", "a folder, not a file") from error
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
            raise RecordError("file.unreadable", reason(error)) from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise RecordError("file.not_a_file", "a pipe, socket or device, not a file")
        return file


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


class _Remote:
    def __init__(self, url: str):
        import fsspec

        try:
            self.fs, base = fsspec.core.url_to_fs(url)
        except ImportError as error:
            extra = "pip install isotrope[s3]" if url.startswith("s3:") else "install it"
            raise SourceError(f"{url}: {error}; {extra}") from error
        except ValueError as error:
            raise SourceError(f"{url}: {error}; fsspec must know the protocol") from error
        self.base = base.rstrip("/")
        self._found: dict[str, dict[str, Any]] = {}
        self.fs.invalidate_cache()  # what it saw before may have changed since

    def is_folder(self) -> bool:
        try:
            return self.fs.isdir(self.base or "/")
        except Exception as error:  # each file system has its own
            raise SourceError(f"{self.fs.unstrip_protocol(self.base)}: {reason(error)}") from error

    def names(self, folder: str) -> list[Name]:
        full = join(self.base, folder).rstrip("/")
        try:
            listed = self.fs.ls(full or "/", detail=True)
        except Exception as error:
            raise OSError(reason(error)) from error
        found = {}
        for entry in listed:
            name = basename(entry["name"].rstrip("/"))
            # An object store may list a folder's own marker among what is in it.
            if entry["name"].rstrip("/") == full or not name or name.startswith("."):
                continue
            found[name] = Name(name, entry["type"] == "directory")
            self._found[join(folder, name)] = entry
        return [found[name] for name in sorted(found)]

    def facts(self, path: str) -> Facts:
        known = self._found.get(path)
        if known is None or known.get("size") is None:
            try:
                known = self.fs.info(join(self.base, path))
            except Exception as error:
                raise OSError(reason(error)) from error
        stamp = next((known[k] for k in _STAMPS if known.get(k)), "")
        when = next((known[k] for k in _TIMES if known.get(k)), 0.0)
        changed = when.timestamp() if isinstance(when, datetime) else when
        seconds = changed if isinstance(changed, int | float) else 0.0
        return Facts(known.get("size") or 0, str(stamp or when), float(seconds))

    def open(self, path: str) -> BinaryIO:
        full = join(self.base, path)
        if ".." in path.split("/"):
            raise RecordError("file.outside", "a path that leads out of its drop is not followed")
        try:
            return cast(BinaryIO, _RemoteFile(self.fs.open(full, "rb", block_size=_READ_AHEAD)))
        except IsADirectoryError as error:
            raise RecordError("file.not_a_file", "a folder, not a file") from error
        except Exception as error:
            raise RecordError("file.unreadable", reason(error)) from error


_STAMPS = ("ETag", "etag", "md5Hash", "generation", "mtime")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class _RemoteFile(io.BufferedIOBase):
    """A remote file whose every failure is an OSError, and which has a position of its own."""

    def __init__(self, file: Any):
        self._file = file
        self._size = self._of(file.seek, 0, os.SEEK_END)
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        self._of(self._file.seek, self._position)
        data = self._of(self._file.read, wanted)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    @staticmethod
    def _of(call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            raise OSError(reason(error)) from error
