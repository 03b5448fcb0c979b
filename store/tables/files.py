"""The files of a corpus that are not read through Lance, in a local folder or an object store."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from os.path import abspath
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from store import identity
from store.errors import NotFoundError, StoreError
from store.tables.object_store import open_store, typed
from store.tables.store_options import Options

_DELETE = 1000  # objects in one request, S3's limit


@dataclass(frozen=True)
class File:
    """A file: its path relative to the root, its size in bytes, and when it was last written.

    The tag (ETag) differs if the content does. Times of an object store are whole seconds.
    """

    path: str
    size: int
    modified: datetime
    tag: str = ""


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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Files) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "options": self.options}

    @property
    def is_local(self) -> bool:
        """Whether the files are in a local folder."""
        return "://" not in self.root

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            with typed(path):
                obstore.head(self._store, self._key(path))
        except NotFoundError:
            return False
        return True

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            NotFoundError: there is no such file.
        """
        with typed(path):
            return bytes(obstore.get(self._store, self._key(path)).bytes())

    def chunks(self, path: str) -> Iterator[bytes]:
        """Stream the content of a file.

        Raises:
            NotFoundError: there is no such file.
        """
        with typed(path):
            for chunk in obstore.get(self._store, self._key(path)).stream():
                yield bytes(chunk)

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        """The content of a file of an object store and its ETag, for `replace`.

        Raises:
            NotFoundError: there is no such file.
        """
        with typed(path):
            reply = obstore.get(self._store, self._key(path))
            return bytes(reply.bytes()), reply.meta["e_tag"] or ""

    def write(self, path: str, data: bytes) -> None:
        """Write a file. Readers see the old content or the new one."""
        with typed(path):
            obstore.put(self._store, self._key(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if there is none; return whether it was written.

        If the reply of the object store was lost, a file with this content counts as written, so
        `data` should be unique.
        """
        return self.replace(path, data, None) is not None

    def replace(self, path: str, data: bytes, tag: str | None) -> str | None:
        """Replace a file of an object store if it is unchanged. `data` as for `create`.

        Args:
            path: of the file.
            data: its new content.
            tag: the ETag of its present content. None: write only if there is no such file.

        Returns:
            The new ETag, or None if the file was not written.
        """
        mode: Any = "create" if tag is None else {"e_tag": tag}
        try:
            with typed(path):
                return obstore.put(self._store, self._key(path), data, mode=mode)["e_tag"] or ""
        except (AlreadyExistsError, PreconditionError, StoreError) as error:
            return self._tag_if_written(path, data, error)

    def _tag_if_written(self, path: str, data: bytes, error: Exception) -> str | None:
        try:
            current, tag = self.read_tagged(path)
        except NotFoundError:
            current, tag = None, ""
        if current == data:
            return tag
        if isinstance(error, StoreError):
            raise error
        return None

    def folders(self, prefix: str = "") -> list[str]:
        """The names of the folders directly in a folder, sorted."""
        with typed(prefix):
            listing = obstore.list_with_delimiter(self._store, self._key(prefix))
        return sorted(path.rstrip("/").rpartition("/")[2] for path in listing["common_prefixes"])

    def list(self, prefix: str = "") -> Iterator[File]:
        """The files in a folder and in its subfolders.

        Args:
            prefix: the folder. Empty: all files.
        """
        with typed(prefix):
            for batch in obstore.list(self._store, self._key(prefix)):
                for meta in batch:
                    path = str(meta["path"])[len(self._base) :].lstrip("/")
                    yield File(path, meta["size"], meta["last_modified"], meta["e_tag"] or "")

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files. Files that do not exist are skipped."""
        keys = [self._key(path) for path in paths]
        step = 1 if self.is_local else _DELETE
        for start in range(0, len(keys), step):
            try:
                with typed(keys[start]):
                    obstore.delete(self._store, keys[start : start + step])
            except NotFoundError:
                continue

    def delete_folder(self, prefix: str) -> None:
        """Delete a folder with all that is in it. It need not exist."""
        if self.is_local:
            shutil.rmtree(f"/{self._key(prefix)}", ignore_errors=True)
        else:
            self.delete([file.path for file in self.list(prefix)])

    @contextmanager
    def writing(self, path: str, scratch: Path) -> Iterator[Path]:
        """A local path to write to. It becomes the file at the end of the `with` block.

        If the block raises, nothing is written.

        Args:
            path: of the file.
            scratch: a local folder for the unfinished file. If the files are in a local folder, it
                must be on the same file system.
        """
        part = Path(scratch, f"{uuid4().hex}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            if self.is_local:
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                Path(self.root, path).parent.mkdir(parents=True, exist_ok=True)
                part.replace(Path(self.root, path))
            else:
                self.upload(part, path)
        finally:
            part.unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """Copy a file within the root.

        Raises:
            NotFoundError: there is no file `source`.
        """
        with typed(source):
            obstore.copy(self._store, self._key(source), self._key(target))

    def download(self, path: str, local: str | Path) -> None:
        """Copy a file to a local path. Other processes see it as a whole or not at all.

        Raises:
            NotFoundError: there is no such file.
        """
        target = Path(local)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{uuid4().hex}")
        try:
            with part.open("wb") as file:
                for chunk in self.chunks(path):
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def local_copy(self, path: str, scratch: Path) -> Path:
        """A local file with the present content: the file itself, or a copy that is kept.

        Args:
            path: of the file.
            scratch: where the newest copy is kept.

        Raises:
            NotFoundError: there is no such file.
        """
        if self.is_local:
            return Path(self.root, path)
        with typed(path):
            tag = obstore.head(self._store, self._key(path))["e_tag"] or ""
        folder = Path(scratch, "copies", path)
        copy = folder / identity.run_key(tag)
        if not copy.exists():
            for older in folder.glob("*"):
                older.unlink(missing_ok=True)
            self.download(path, copy)
        return copy

    def upload(self, local: str | Path, path: str) -> None:
        """Copy a local file to a path. Readers see the old content or the new one."""
        with typed(path):
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
        return open_store(self.root, self.options)


def absolute(root: str) -> str:
    """An address unchanged; the absolute path of a local folder, where ~ is the home folder."""
    return root if "://" in root else str(Path(root).expanduser().resolve())
