"""Turns the errors of damaged Lance tables into `DamagedTableError`.

Lance raises ValueError, OSError, RuntimeError or a PanicException (a BaseException, but no
Exception) when a file is missing or has wrong bytes.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from store.errors import DamagedTableError, IsotropeError, NotFoundError

# Errors that say nothing about the files: a wrong query, limits and permissions of the operating
# system (but 2 is a missing file and 5 a failing disk), a store that did not answer, a conflict.
_NOT_DAMAGE = re.compile(
    r"^(lance error: )?Invalid (user )?input(?!.*/lance-(file|io|encoding)/)"
    r"|os error (?!2\b|5\b)\d+|Generic (S3|GCS|MicrosoftAzure|HTTP)|onflict|Resources exhausted"
)
_NOTE = "_versions/latest_version_hint.json"  # Lance writes it after each commit
_MOST = 300  # characters of Lance's message that are shown


def is_damage(error: BaseException) -> bool:
    """Whether an error of Lance means that files of the table are missing or wrong."""
    if type(error).__name__ == "PanicException":
        return True
    if isinstance(error, IsotropeError):
        return False
    kinds = ValueError | OSError | RuntimeError
    return isinstance(error, kinds) and not _NOT_DAMAGE.search(str(error))


def damaged(uri: str, version: int | str | None, problem: object) -> DamagedTableError:
    """The error for a damaged table.

    Args:
        uri: of the table.
        version: that was read. None: the newest.
        problem: what is wrong.
    """
    name = uri.rstrip("/").rpartition("/")[2].removesuffix(".lance")
    which = "its newest version" if version is None else f"version {version}"
    text = " ".join(str(problem).split())[:_MOST]
    return DamagedTableError(
        f"table {name!r} is damaged: {which} in {uri} cannot be read ({text}). Nothing was"
        " changed. Put its files back from a backup. Or go back to an earlier version: move an"
        f" unreadable manifest out of _versions and call `lance.dataset({uri!r}, version=N)"
        ".restore()`, then `isotrope check` and `isotrope run`"
    )


@contextmanager
def detected(uri: str, version: int | str | None) -> Iterator[None]:
    """Raise DamagedTableError if reading a table fails within a `with` block."""
    try:
        yield
    except BaseException as error:
        if not is_damage(error):
            raise
        raise damaged(uri, version, error) from error


def has_content(folder: Path) -> bool:
    """Whether anything was ever committed to the folder of a table, or data was written to it.

    Lance writes a manifest under a temporary name and links it. If the first commit was
    interrupted, there is no manifest.
    """
    return (
        (folder / _NOTE).is_file()  # first, because listing many versions is slow
        or any(folder.glob("_versions/*.manifest"))
        or any(folder.glob("data/*"))
    )


def open_dataset(uri: str, version: int | str | None, is_local: bool) -> "CheckedDataset":
    """Open a table that exists.

    Args:
        uri: of the table.
        version: a version number or a tag. None: the newest version.
        is_local: whether the table is in a local folder.

    Raises:
        NotFoundError: there is no such version, or (not local) no such table.
        DamagedTableError: the table cannot be opened, or it has lost its newest manifest.
    """
    committed = _committed_version(uri) if is_local and version is None else 0
    try:
        dataset = CheckedDataset(uri, version)
    except BaseException as error:
        if _is_absent(error, uri, version, is_local):
            raise NotFoundError(f"no version {version!r} of {uri}: {error}") from error
        if is_damage(error) or "not found" in str(error):
            raise damaged(uri, version, error) from error
        raise
    if version is None and dataset.version < committed:
        problem = f"the manifest of version {committed} is missing, the newest is {dataset.version}"
        raise damaged(uri, committed, problem)
    return dataset


def _is_absent(error: BaseException, uri: str, version: int | str | None, is_local: bool) -> bool:
    """Whether an error says that a version (or a remote table) never existed or was cleaned up."""
    text = str(error)
    if "Ref not found" in text:
        return True
    if "was not found" not in text or isinstance(version, str):
        return False
    if not is_local:
        return True
    return version is not None and version not in _tagged(uri)


def _tagged(uri: str) -> set[int]:
    """The versions of a local table that have a tag: none of them may be missing."""
    tags = Path(uri, "_refs", "tags").glob("*.json")
    return {int(json.loads(tag.read_bytes())["version"]) for tag in tags}


def _committed_version(uri: str) -> int:
    """The version that Lance noted after the last commit to a local table, or 0 without a note.

    Read before the table is opened: if the newest version is then an older one, its manifest is
    lost.
    """
    try:
        note = json.loads(Path(uri, _NOTE).read_bytes())
        return int(note["version"])
    except (OSError, ValueError, KeyError, TypeError):
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
