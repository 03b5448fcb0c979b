"""Restores the tables from a backup (`store.tables.backup`)."""

from store.errors import InputError, NotFoundError
from store.tables.backup import BACKUPS, DATA, Catalogue, copy_file, list_backups, read_catalogue
from store.tables.files import Files
from store.tables.lance_tables import Tables

_MARK = "_restoring"  # the name of the backup, while its files are copied


def restore(source: Files, tables: Tables, name: str | None = None) -> Catalogue:
    """Copy the tables of a backup to where there are none. If it is interrupted, call it again.

    Args:
        source: where backups are.
        tables: of the corpus.
        name: of the backup. None: the newest.

    Returns:
        The catalogue of the backup.

    Raises:
        NotFoundError: there is no such backup, or one of its files is missing.
        InputError: there are tables already.
    """
    names = list_backups(source)
    name = name or (names[-1] if names else "")
    if name not in names:
        raise NotFoundError(f"no backup {name!r} in {source.root}; there are: {names or 'none'}")
    if _unfinished(tables) != name and any(tables.files.list()):
        raise InputError(f"{tables.root} is not empty: move it away before tables are restored")
    tables.files.write(_MARK, name.encode())
    catalogue = read_catalogue(source, name)
    present = {file.path: file.size for file in tables.files.list()}
    for path, size in catalogue.data.items():
        if present.get(path) != size:
            copy_file(source, f"{DATA}/{path}", tables.files, path)
    for path in catalogue.files:
        copy_file(source, f"{BACKUPS}/{name}/{path}", tables.files, path)
    tables.files.delete([_MARK])
    return catalogue


def _unfinished(tables: Tables) -> str | None:
    try:
        return tables.files.read(_MARK).decode()
    except NotFoundError:
        return None
