"""Checksums of the files of tables, so that bits that flip in place are found.

Lance has none. Files of a table never change once they are committed, so each is read once, soon
after the commit. The checksums that are recorded at once are one file, `_checksums/T/record-ID`,
with lines as those of b2sum: a checksum and a path relative to `T.lance`. Nothing is read twice
when tables grow: which files are new follows from the records.

Older corpora have a file for each checksum: that of `T.lance/data/F` is the content of
`_checksums/T/data/F`.
"""

import hashlib
import random
from collections.abc import Collection, Iterator
from functools import lru_cache
from uuid import uuid4

from store.errors import NotFoundError
from store.tables.files import File, Files
from store.tables.lance_tables import Tables
from store.tables.table_files import files_of_version, tagged_versions

ROOT = "_checksums"
_RECORD = "record-"
_MOST_RECORDS = 16  # files of one table, before they become one
_DIGEST_BYTES = 16


def record(tables: Tables, name: str) -> int:
    """Record checksums of the files of a table that have none; return the bytes of these files.

    Files of the newest version and of tagged versions count: data, deletions, manifests, indexes.

    Raises:
        NotFoundError: there is no such table.
        DamagedTableError: it cannot be opened.
    """
    records = list(tables.files.list(f"{ROOT}/{name}"))
    known = _read(tables.files, name, records)
    new, size = {}, 0
    for path in sorted(set(_files(tables, name)) - known.keys()):
        try:
            new[path], read = _digest(tables, name, path)
            size += read
        except NotFoundError:  # a lost file is damage, which `isotrope check` reports
            continue
    if new and len(records) >= _MOST_RECORDS:
        _replace(tables.files, records, as_record(name, known | new))
    elif new:
        tables.files.write(*as_record(name, new))
    return size


def recorded(tables: Tables, name: str) -> dict[str, str]:
    """The checksums of a table, by the paths of its files relative to its folder."""
    return _read(tables.files, name, tables.files.list(f"{ROOT}/{name}"))


def as_record(name: str, digests: dict[str, str]) -> tuple[str, bytes]:
    """The path and the content of a new file with checksums of a table."""
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return f"{ROOT}/{name}/{_RECORD}{uuid4().hex}", lines.encode()


def changed_files(
    tables: Tables, name: str, paths: Collection[str] | None = None, most: int | None = None
) -> list[str]:
    """The files of a table whose bytes differ from their checksums. Needs no readable manifest.

    Missing files do not count, because an old version may have been deleted.

    Args:
        tables: of the corpus.
        name: of the table.
        paths: compare only these files, relative to the folder of the table. None: all.
        most: compare only this many files, chosen at random.

    Returns:
        Paths relative to the folder of the table, sorted.
    """
    digests = recorded(tables, name)
    chosen = sorted(digests if paths is None else digests.keys() & set(paths))
    if most is not None and len(chosen) > most:
        chosen = random.sample(chosen, most)
    return sorted(path for path in chosen if _has_changed(tables, name, path, digests[path]))


def forget_deleted(tables: Tables, name: str) -> None:
    """Delete the checksums of files that no longer exist."""
    folder = f"{name}.lance"
    records = list(tables.files.list(f"{ROOT}/{name}"))
    digests = _read(tables.files, name, records)
    present = {file.path.removeprefix(f"{folder}/") for file in tables.files.list(folder)}
    if digests.keys() - present:
        kept = {path: digest for path, digest in digests.items() if path in present}
        _replace(tables.files, records, as_record(name, kept))


def _files(tables: Tables, name: str) -> Iterator[str]:
    newest = tables.open(name, any_format=True)
    yield from files_of_version(tables, name, newest)
    for version in tagged_versions(newest):
        dataset = tables.open(name, version, any_format=True)
        yield from files_of_version(tables, name, dataset)


def _read(files: Files, name: str, records: "Collection[File] | Iterator[File]") -> dict[str, str]:
    digests: dict[str, str] = {}
    for file in records:
        try:
            digests |= _read_record(files, name, file)
        except NotFoundError:  # another process has merged it with others
            continue
    return digests


@lru_cache(maxsize=256)
def _read_record(files: Files, name: str, file: File) -> dict[str, str]:
    """The checksums in a file. The tag of the file is part of the cache's key."""
    path = file.path.removeprefix(f"{ROOT}/{name}/")
    text = files.read(file.path).decode(errors="replace")
    if not path.startswith(_RECORD):
        return {path: text}
    lines = (line.partition("  ") for line in text.splitlines())
    return {path: digest for digest, _, path in lines}


def _replace(files: Files, records: Collection[File], new: tuple[str, bytes]) -> None:
    files.write(*new)
    files.delete([file.path for file in records])


def _has_changed(tables: Tables, name: str, path: str, expected: str) -> bool:
    try:
        return _digest(tables, name, path)[0] != expected
    except NotFoundError:
        return False


def _digest(tables: Tables, name: str, path: str) -> tuple[str, int]:
    """The checksum of a file, and its size in bytes."""
    digest, size = hashlib.blake2b(digest_size=_DIGEST_BYTES), 0
    for chunk in tables.files.chunks(f"{name}.lance/{path}"):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
