"""Checksums of the files of tables, so that bits that flip in place are found.

Lance has none. Files of a table never change once they are committed, so each is read once, soon
after the commit. The checksum of `T.lance/data/F` is the content of the file
`_checksums/T/data/F`. Nothing is read twice when tables grow: which files are new follows from two
listings.
"""

import hashlib
import random
from collections.abc import Collection, Iterator
from contextlib import suppress

from store.errors import NotFoundError
from store.tables.lance_tables import Tables
from store.tables.table_files import files_of_version, tagged_versions

ROOT = "_checksums"
_DIGEST_BYTES = 16


def record(tables: Tables, name: str) -> int:
    """Record checksums of the files of a table that have none; return their number.

    Files of the newest version and of tagged versions count: data, deletions, manifests, indexes.

    Raises:
        NotFoundError: there is no such table.
        DamagedTableError: it cannot be opened.
    """
    known = set(_recorded(tables, name))
    count = 0
    for path in sorted(set(_files(tables, name)) - known):
        with suppress(NotFoundError):  # a lost file is damage, which `isotrope check` reports
            tables.files.write(f"{ROOT}/{name}/{path}", _digest(tables, name, path).encode())
            count += 1
    return count


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
    chosen = sorted(_recorded(tables, name) if paths is None else paths)
    if most is not None and len(chosen) > most:
        chosen = random.sample(chosen, most)
    return sorted(path for path in chosen if _has_changed(tables, name, path))


def forget_deleted(tables: Tables, name: str) -> None:
    """Delete the checksums of files that no longer exist."""
    folder = f"{name}.lance"
    present = {file.path.removeprefix(f"{folder}/") for file in tables.files.list(folder)}
    gone = [path for path in _recorded(tables, name) if path not in present]
    tables.files.delete([f"{ROOT}/{name}/{path}" for path in gone])


def _files(tables: Tables, name: str) -> Iterator[str]:
    newest = tables.open(name, any_format=True)
    yield from files_of_version(tables, name, newest)
    for version in tagged_versions(newest):
        dataset = tables.open(name, version, any_format=True)
        yield from files_of_version(tables, name, dataset)


def _recorded(tables: Tables, name: str) -> Iterator[str]:
    prefix = f"{ROOT}/{name}"
    return (file.path.removeprefix(f"{prefix}/") for file in tables.files.list(prefix))


def _has_changed(tables: Tables, name: str, path: str) -> bool:
    try:
        expected = tables.files.read(f"{ROOT}/{name}/{path}").decode()
        return _digest(tables, name, path) != expected
    except NotFoundError:
        return False


def _digest(tables: Tables, name: str, path: str) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for chunk in tables.files.chunks(f"{name}.lance/{path}"):
        digest.update(chunk)
    return digest.hexdigest()
