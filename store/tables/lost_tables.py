"""Finds tables that are gone, and tables whose newest version is gone, in object stores too.

Without this, a table whose folder was deleted counts as never made, and a table whose newest
manifest was deleted counts as being at the version before. In a local folder, Lance notes the
newest version beside the manifests; in an object store it does not. The names of checksum records
have the newest version of a table at the end of every stage that made it.
"""

from store.errors import DamagedTableError, NotFoundError
from store.tables import checksums
from store.tables.damage import damaged
from store.tables.lance_tables import Tables
from store.tables.names import kind_of


def check_none_lost(tables: Tables, stage: str | None = None) -> None:
    """Check that every table is there, at the version that was recorded or a newer one.

    Args:
        tables: of the corpus.
        stage: check only the tables that this stage makes.

    Raises:
        DamagedTableError: a table or its newest version is missing, or cannot be opened.
    """
    for name, version in checksums.newest_versions(tables).items():
        if stage is None or kind_of(name) == stage:
            check_not_lost(tables, name, version)


def check_not_lost(tables: Tables, name: str, recorded: int) -> None:
    """As `check_none_lost`, of one table with its recorded version."""
    uri = tables.uri(name)
    try:
        newest = tables.version(name)
    except NotFoundError:
        raise DamagedTableError(
            f"table {name!r} is lost: there is nothing in {uri}, but its version {recorded} was"
            " recorded. Put its files back from a backup, or call `isotrope repair` and"
            " `isotrope run`, which makes it again"
        ) from None
    if newest < recorded:
        problem = f"the manifest of version {recorded} is missing, the newest is {newest}"
        raise damaged(uri, recorded, problem)


def all_names(tables: Tables) -> dict[str, int]:
    """The names of all tables, and of those that are lost, with their recorded versions.

    The version of a table without checksums is 0.
    """
    recorded = checksums.newest_versions(tables)  # first: versions only grow
    return {name: recorded.get(name, 0) for name in sorted({*tables.names(), *recorded})}
