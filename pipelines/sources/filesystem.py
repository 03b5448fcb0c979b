"""Access to delivered files: in a local folder, or on any file system of fsspec (s3://, gs://).

A local folder is read through the operating system, and links that lead out of it are never
followed (see `beneath`). Other file systems have no links; their credentials come from the
environment.
"""

import errno
import io
import os
import stat
from dataclasses import dataclass
from posixpath import basename, join
from typing import Any, BinaryIO, Protocol, cast

from pipelines.sources.beneath import OutsideError, parent_of
from store.errors import RecordError, SourceError

_READ_AHEAD = 1 << 20
_OUTSIDE = "a link or path that points outside its drop is not followed"


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """An entry of a folder. A link to a folder has both flags set, and is never entered."""

    name: str
    is_folder: bool
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What changes when a file changes.

    `size` is in bytes. `stamp` is the modification time in ns, or an object's ETag.
    """

    size: int
    stamp: str


class FileSystem(Protocol):
    """One folder, local or remote. Paths are relative to it, with forward slashes."""

    def is_folder(self) -> bool:
        """Whether the folder exists and is a folder."""
        ...

    def entries(self, folder: str) -> list[FolderEntry]:
        """The entries of a folder, sorted by name, without hidden ones. Raises OSError."""
        ...

    def info(self, path: str) -> FileInfo:
        """Size and modification time of a file; of a link, those of the link. Raises OSError."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading. Raises RecordError as `open_inside` does."""
        ...


def file_system(root: str) -> FileSystem:
    """The file system that holds `root`, a local path or a URL.

    Raises:
        SourceError: no file system is installed for the URL's protocol.
    """
    return _Remote(root) if "://" in root else _Local(root)


def open_inside(root: str, path: str) -> BinaryIO:
    """Open a regular file of a drop for reading.

    Raises:
        RecordError: `file.outside` where a link or path leads out of the root;
            `file.not_a_file` for folders, pipes and devices (reading a pipe could block for
            ever); `file.unreadable` for every other failure.
    """
    return file_system(root).open(path)


def size_of(file: BinaryIO) -> int:
    """The size of an open file in bytes. Sets its position to 0. Raises OSError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def error_text(error: Exception) -> str:
    """The message of an error, never empty."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)


class _Local:
    def __init__(self, root: str):
        self.root = root

    def is_folder(self) -> bool:
        return os.path.isdir(self.root)

    def entries(self, folder: str) -> list[FolderEntry]:
        try:
            with parent_of(self.root, folder) as (parent, name):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                handle = os.open(name, flags, dir_fd=parent)
                try:
                    with os.scandir(handle) as scan:
                        entries = [
                            FolderEntry(e.name, _is_folder_or_link_to_one(e), e.is_symlink())
                            for e in scan
                            if not e.name.startswith(".")
                        ]
                finally:
                    os.close(handle)
        except OutsideError:
            raise PermissionError(errno.EPERM, _OUTSIDE, folder) from None
        return sorted(entries, key=lambda entry: entry.name)

    def info(self, path: str) -> FileInfo:
        try:
            with parent_of(self.root, path, follow=False) as (parent, name):
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OutsideError:
            raise PermissionError(errno.EPERM, _OUTSIDE, path) from None
        return FileInfo(status.st_size, str(status.st_mtime_ns))

    def open(self, path: str) -> BinaryIO:
        try:
            with parent_of(self.root, path) as (parent, name):
                # O_NONBLOCK: opening a pipe without a writer would block.
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(name, flags, dir_fd=parent)
            file = os.fdopen(descriptor, "rb", closefd=True)
        except OutsideError:
            raise RecordError("file.outside", _OUTSIDE) from None
        except IsADirectoryError as error:
            raise RecordError("file.not_a_file", "a folder, not a file") from error
        except (OSError, ValueError) as error:
            raise RecordError("file.unreadable", error_text(error)) from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise RecordError("file.not_a_file", "a pipe, socket or device, not a file")
        return file


def _is_folder_or_link_to_one(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


class _Remote:
    def __init__(self, url: str):
        import fsspec

        try:
            self.fs, base = fsspec.core.url_to_fs(url)
        except ImportError as error:
            extra = "pip install isotrope[s3]" if url.startswith("s3:") else "install it"
            raise SourceError(f"{url}: {error}; {extra}") from error
        except ValueError as error:
            raise SourceError(
                f"{url}: {error}; use a protocol that fsspec supports, such as s3:// or gs://"
            ) from error
        self.base = base.rstrip("/")
        self._listed: dict[str, FileInfo] = {}  # of listed files, until `info` is called for them
        self.fs.invalidate_cache()  # fsspec caches listings between calls; files may have changed

    def is_folder(self) -> bool:
        try:
            return self.fs.isdir(self.base or "/")
        except Exception as error:  # every file system raises errors of its own
            url = self.fs.unstrip_protocol(self.base)
            raise SourceError(f"{url}: {error_text(error)}") from error

    def entries(self, folder: str) -> list[FolderEntry]:
        full = join(self.base, folder).rstrip("/")
        try:
            details = self.fs.ls(full or "/", detail=True)
        except Exception as error:
            raise OSError(error_text(error)) from error
        entries = {}
        for entry in details:
            name = basename(entry["name"].rstrip("/"))
            # An object store may list the folder's own marker object among the folder's entries.
            if entry["name"].rstrip("/") == full or not name or name.startswith("."):
                continue
            entries[name] = FolderEntry(name, entry["type"] == "directory")
            if entry["type"] != "directory" and entry.get("size") is not None:
                self._listed[join(folder, name)] = _info_of(entry)
        # fsspec would keep some 1 kB of every listed object, and no folder is listed twice.
        self.fs.invalidate_cache(full)
        return [entries[name] for name in sorted(entries)]

    def info(self, path: str) -> FileInfo:
        if (listed := self._listed.pop(path, None)) is not None:
            return listed
        try:
            return _info_of(self.fs.info(join(self.base, path)))
        except Exception as error:
            raise OSError(error_text(error)) from error

    def open(self, path: str) -> BinaryIO:
        full = join(self.base, path)
        if ".." in path.split("/"):
            raise RecordError("file.outside", "a path that points outside its drop is not followed")
        try:
            return cast(BinaryIO, _RemoteFile(self.fs.open(full, "rb", block_size=_READ_AHEAD)))
        except IsADirectoryError as error:
            raise RecordError("file.not_a_file", "a folder, not a file") from error
        except Exception as error:
            raise RecordError("file.unreadable", error_text(error)) from error


# Keys of fsspec's file details; each file system has some of them.
_STAMP_KEYS = ("ETag", "etag", "md5Hash", "generation", "mtime")
_TIME_KEYS = ("LastModified", "last_modified", "updated", "mtime", "created")


def _info_of(details: dict[str, Any]) -> FileInfo:
    """Size and stamp of a file from fsspec's details."""
    stamp = next((details[k] for k in _STAMP_KEYS if details.get(k)), "")
    time = next((details[k] for k in _TIME_KEYS if details.get(k)), 0.0)
    return FileInfo(details.get("size") or 0, str(stamp or time))


class _RemoteFile(io.BufferedIOBase):
    """A remote file that raises only OSError, and keeps its own position."""

    def __init__(self, file: Any):
        self._file = file
        self._size = self._call(file.seek, 0, os.SEEK_END)
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._position)
        count = left if size is None or size < 0 else min(size, left)
        self._call(self._file.seek, self._position)
        data = self._call(self._file.read, count)
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
    def _call(method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:
            raise OSError(error_text(error)) from error
