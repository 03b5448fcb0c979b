"""The files of a corpus that are not read through Lance, in a local folder or an object store."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from os.path import abspath
from pathlib import Path
from typing import Any

import obstore
from obstore import store as stores
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PreconditionError,
    UnknownConfigurationKeyError,
)

from store.errors import ConfigError, NotFoundError, StoreError
from store.tables.store_options import SCHEMES, Options, obstore_options

_DELETE = 1000  # objects in one request, S3's limit


@dataclass(frozen=True)
class File:
    """A file: its path relative to the root, its size in bytes, and when it was last written."""

    path: str
    size: int
    modified: datetime


class Files:
    """Files by their paths relative to a root, such as `projections/local.safetensors`.

    It can be pickled. The connection is opened when it is first used.

    Args:
        root: a local folder, or `s3://bucket/prefix`, `gs://bucket/prefix`,
            `az://container/prefix`.
        options: of the object store (`store.tables.store_options`).

    All methods raise StoreError if the object store cannot be reached or refuses.
    """

    def __init__(self, root: str | Path, options: Options | None = None):
        self.root = str(root)
        self.options = dict(options or {})

    def __repr__(self) -> str:
        return f"Files({self.root!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "options": self.options}

    @property
    def is_local(self) -> bool:
        """Whether the files are in a local folder."""
        return "://" not in self.root

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            with _typed(path):
                obstore.head(self._store, self._key(path))
        except NotFoundError:
            return False
        return True

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            NotFoundError: there is no such file.
        """
        with _typed(path):
            return bytes(obstore.get(self._store, self._key(path)).bytes())

    def chunks(self, path: str) -> Iterator[bytes]:
        """Stream the content of a file.

        Raises:
            NotFoundError: there is no such file.
        """
        with _typed(path):
            for chunk in obstore.get(self._store, self._key(path)).stream():
                yield bytes(chunk)

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        """The content of a file of an object store and its ETag, for `replace`.

        Raises:
            NotFoundError: there is no such file.
        """
        with _typed(path):
            reply = obstore.get(self._store, self._key(path))
            return bytes(reply.bytes()), reply.meta["e_tag"] or ""

    def write(self, path: str, data: bytes) -> None:
        """Write a file. Readers see the old content or the new one."""
        with _typed(path):
            obstore.put(self._store, self._key(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if there is none; return whether it was written.

        If the reply of the object store was lost, a file with this content counts as written, so
        `data` should be unique.
        """
        try:
            with _typed(path):
                obstore.put(self._store, self._key(path), data, mode="create")
        except (AlreadyExistsError, StoreError) as error:
            return self._was_written(path, data, error)
        return True

    def replace(self, path: str, data: bytes, tag: str) -> bool:
        """Replace a file of an object store if its ETag is `tag`; return whether it was replaced.

        As for `create`, `data` should be unique.
        """
        try:
            with _typed(path):
                obstore.put(self._store, self._key(path), data, mode={"e_tag": tag})
        except (PreconditionError, StoreError) as error:
            return self._was_written(path, data, error)
        return True

    def _was_written(self, path: str, data: bytes, error: Exception) -> bool:
        try:
            current = self.read(path)
        except NotFoundError:
            current = None
        if current != data and isinstance(error, StoreError):
            raise error
        return current == data

    def folders(self, prefix: str = "") -> list[str]:
        """The names of the folders directly in a folder, sorted."""
        with _typed(prefix):
            found = obstore.list_with_delimiter(self._store, self._key(prefix))
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    def list(self, prefix: str = "") -> Iterator[File]:
        """The files in a folder and in its subfolders.

        Args:
            prefix: the folder. Empty: all files.
        """
        with _typed(prefix):
            for batch in obstore.list(self._store, self._key(prefix)):
                for meta in batch:
                    path = str(meta["path"])[len(self._base) :].lstrip("/")
                    yield File(path, meta["size"], meta["last_modified"])

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files. Files that do not exist are skipped."""
        keys = [self._key(path) for path in paths]
        step = 1 if self.is_local else _DELETE
        for start in range(0, len(keys), step):
            try:
                with _typed(keys[start]):
                    obstore.delete(self._store, keys[start : start + step])
            except NotFoundError:
                continue

    def delete_folder(self, prefix: str) -> None:
        """Delete a folder with all that is in it. It need not exist."""
        if self.is_local:
            shutil.rmtree(f"/{self._key(prefix)}", ignore_errors=True)
        else:
            self.delete([file.path for file in self.list(prefix)])

    def copy(self, source: str, target: str) -> None:
        """Copy a file within the root.

        Raises:
            NotFoundError: there is no file `source`.
        """
        with _typed(source):
            obstore.copy(self._store, self._key(source), self._key(target))

    def download(self, path: str, local: str | Path) -> None:
        """Copy a file to a local path, whose folder must exist.

        Raises:
            NotFoundError: there is no such file.
        """
        with Path(local).open("wb") as file:
            for chunk in self.chunks(path):
                file.write(chunk)

    def upload(self, local: str | Path, path: str) -> None:
        """Copy a local file to a path. Readers see the old content or the new one."""
        with _typed(path):
            obstore.put(self._store, self._key(path), Path(local))

    def _key(self, path: str) -> str:
        return f"{self._base}/{path}".strip("/")

    @cached_property
    def _base(self) -> str:
        """The root within the store: an absolute path without its first /, or a prefix."""
        if self.is_local:
            return abspath(self.root).strip("/")
        return self.root.partition("://")[2].partition("/")[2].strip("/")

    @cached_property
    def _store(self) -> Any:
        if self.is_local:
            return stores.LocalStore()
        scheme, _, rest = self.root.partition("://")
        kinds = dict(
            zip(SCHEMES, (stores.S3Store, stores.GCSStore, stores.AzureStore), strict=True)
        )
        if scheme not in kinds:
            raise ConfigError(f"{self.root}: tables can be at {', '.join(SCHEMES)} (such as s3://)")
        try:
            return kinds[scheme](rest.partition("/")[0], **obstore_options(self.root, self.options))
        except UnknownConfigurationKeyError as error:
            raise ConfigError(f"tables.options: {_first_line(error)}") from error


@contextmanager
def _typed(path: str) -> Iterator[None]:
    """Raise the errors of obstore as ours, except those of conditional writes."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise StoreError(f"{path}: its bucket does not exist") from error
        raise NotFoundError(f"no file {path}: {_first_line(error)}") from error
    except (AlreadyExistsError, PreconditionError, UnknownConfigurationKeyError):
        raise
    except BaseError as error:
        raise StoreError(f"{path}: the object store failed: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """obstore's messages go on with the request in detail."""
    return str(error).strip().partition("\n")[0]
