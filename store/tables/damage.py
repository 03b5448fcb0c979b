"""Turns the errors of damaged Lance tables into `DamagedTableError`.

Lance raises ValueError, OSError, RuntimeError or a PanicException (a BaseException, but no
Exception) when a file is missing or has wrong bytes.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import lance
import pyarrow as pa

from store.errors import DamagedTableError, IsotropeError, NotFoundError, StoreError
from store.tables.files import Files

# Errors that say nothing about the files: a wrong query, limits and permissions of the operating
# system (but 2 is a missing file and 5 a failing disk), a conflict.
_NOT_DAMAGE = re.compile(
    r"^(lance error: )?Invalid (user )?input(?!.*/lance-(file|io|encoding)/)"
    r"|os error (?!2\b|5\b)\d+|onflict|Resources exhausted"
)
# A store that did not answer, refused or does not exist.
_STORE = re.compile(
    r"Generic (S3|GCS|MicrosoftAzure|HTTP)|Server returned|error sending request"
    r"|Error performing|NoSuchBucket|valid authentication|necessary privileges"
)
_ABSENT = re.compile(r"404 Not Found|not found:")  # of an object in the store
_NOTE = "_versions/latest_version_hint.json"  # Lance writes it after each commit
_CACHED_METADATA = 256 << 20  # bytes
_MOST = 300  # characters of Lance's message that are shown


def is_damage(error: BaseException) -> bool:
    """Whether an error of Lance means that files of the table are missing or wrong."""
    if type(error).__name__ == "PanicException":
        return True
    if isinstance(error, IsotropeError):
        return False
    kinds = ValueError | OSError | RuntimeError
    is_other = _NOT_DAMAGE.search(str(error)) or is_store_error(error)
    return isinstance(error, kinds) and not is_other


def is_store_error(error: BaseException) -> bool:
    """Whether an error of Lance says that the object store failed."""
    text = str(error)
    if "NoSuchBucket" in text:
        return True
    return bool(_STORE.search(text)) and not _ABSENT.search(text)


def damaged(uri: str, version: int | str | None, problem: object) -> DamagedTableError:
    """The error for a damaged table.

    Args:
        uri: of the table.
        version: that was read. None: the newest.
        problem: what is wrong.
    """
    name = uri.rstrip("/").rpartition("/")[2].removesuffix(".lance")
    which = "its newest version" if version is None else f"version {version}"
    text = _short(problem)
    return DamagedTableError(
        f"table {name!r} is damaged: {which} in {uri} cannot be read ({text}). Nothing was"
        " changed. Put its files back from a backup. Or go back to an earlier version: move an"
        f" unreadable manifest out of _versions and call `lance.dataset({uri!r}, version=N)"
        ".restore()`, then `isotrope check` and `isotrope run`"
    )


@contextmanager
def detected(uri: str, version: int | str | None) -> Iterator[None]:
    """Raise DamagedTableError if reading a table fails within a `with` block.

    Raise StoreError if its object store fails.
    """
    try:
        yield
    except BaseException as error:
        raise_typed(uri, version, error)
        raise


def raise_typed(uri: str, version: int | str | None, error: BaseException) -> None:
    """Raise DamagedTableError or StoreError for an error of Lance that means one of them."""
    if is_damage(error):
        raise damaged(uri, version, error) from error
    if not isinstance(error, IsotropeError) and is_store_error(error):
        raise StoreError(f"{uri}: the object store failed: {_short(error)}") from error


def _short(problem: object) -> str:
    return " ".join(str(problem).split())[:_MOST]


def has_content(files: Files, name: str) -> bool:
    """Whether anything was ever committed to a table, or data was written to it.

    Lance writes a manifest under a temporary name and links it. If the first commit was
    interrupted, there is no manifest.
    """
    folder = f"{name}.lance"
    return (
        (files.is_local and files.exists(f"{folder}/{_NOTE}"))  # first: listing versions is slow
        or any(file.path.endswith(".manifest") for file in files.list(f"{folder}/_versions"))
        or any(files.list(f"{folder}/data"))
    )


def open_dataset(
    files: Files, name: str, version: int | str | None, storage_options: dict[str, str] | None
) -> "CheckedDataset":
    """Open a table.

    Args:
        files: of the corpus.
        name: of the table.
        version: a version number or a tag. None: the newest version.
        storage_options: of Lance.

    Raises:
        NotFoundError: there is no such table or version.
        DamagedTableError: the table cannot be opened, or it has lost its newest manifest.
        StoreError: the object store failed.
    """
    uri = f"{files.root}/{name}.lance"
    session = None if files.is_local else _session(files.root)
    absent = NotFoundError(f"no table {name!r} in {files.root}; `isotrope run` makes it")
    if files.is_local and not has_content(files, name):
        raise absent
    committed = _committed_version(files, name) if files.is_local and version is None else 0
    try:
        dataset = CheckedDataset(uri, version, storage_options=storage_options, session=session)
    except BaseException as error:
        if "Ref not found" in str(error):
            raise NotFoundError(f"no version {version!r} of {uri}: {error}") from error
        is_missing = "was not found" in str(error) and not isinstance(version, str)
        if is_missing and not has_content(files, name):
            raise absent from error
        if is_missing and version is not None and version not in _tagged(files, name):
            raise NotFoundError(f"no version {version!r} of {uri}: {error}") from error
        if "not found" in str(error) and not is_store_error(error):
            raise damaged(uri, version, error) from error
        raise_typed(uri, version, error)
        raise
    if dataset.version < 1 or (isinstance(version, int) and dataset.version != version):
        raise damaged(uri, version, "its manifest is that of no version")  # such as zeros
    if version is None and dataset.version < committed:
        problem = f"the manifest of version {committed} is missing, the newest is {dataset.version}"
        raise damaged(uri, committed, problem)
    return dataset


@lru_cache(maxsize=16)
def _session(root: str) -> lance.Session:
    """The caches that all tables of an object store share, so that a manifest is read once.

    They are keyed by the ETag of a manifest, and data files never change.
    """
    return lance.Session(metadata_cache_size_bytes=_CACHED_METADATA)


def _tagged(files: Files, name: str) -> set[int]:
    """The versions of a table that have a tag: none of them may be missing."""
    tags = files.list(f"{name}.lance/_refs/tags")
    return {int(json.loads(files.read(tag.path))["version"]) for tag in tags}


def _committed_version(files: Files, name: str) -> int:
    """The version that Lance noted after the last commit to a local table, or 0 without a note.

    Read before the table is opened: if the newest version is then an older one, its manifest is
    lost.
    """
    try:
        note = json.loads(files.read(f"{name}.lance/{_NOTE}"))
        return int(note["version"])
    except (NotFoundError, StoreError, ValueError, KeyError, TypeError):
        return 0


class CheckedDataset(lance.LanceDataset):
    """A Lance dataset whose reads raise DamagedTableError."""

    def scanner(self, *args: Any, **kwargs: Any) -> "lance.LanceScanner":
        """As `LanceDataset.scanner`."""
        scanner = super().scanner(*args, **kwargs)
        return _CheckedScanner(scanner._scanner, self, scanner._snapshot)

    def count_rows(self, *args: Any, **kwargs: Any) -> int:
        """As `LanceDataset.count_rows`."""
        with detected(self.uri, self.version):
            return super().count_rows(*args, **kwargs)

    def take(self, *args: Any, **kwargs: Any) -> pa.Table:
        """As `LanceDataset.take`."""
        with detected(self.uri, self.version):
            return super().take(*args, **kwargs)


class _CheckedScanner(lance.LanceScanner):
    def to_reader(self) -> pa.RecordBatchReader:
        with detected(self._ds.uri, self._ds.version):
            schema = self.projected_schema
        return pa.RecordBatchReader.from_batches(schema, self.to_batches())

    def to_table(self) -> pa.Table:
        with detected(self._ds.uri, self._ds.version):
            return super().to_reader().read_all()

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        with detected(self._ds.uri, self._ds.version):
            yield from super().to_reader()

    def count_rows(self) -> int:
        with detected(self._ds.uri, self._ds.version):
            return super().count_rows()
