"""Where exports of a corpus were written to: one small file for each folder, beside the tables.

A takedown needs it to find what it must remove.
"""

import json

from store import identity
from store.tables.files import Files, absolute
from store.tables.lance_tables import Tables
from store.tables.store_options import options_for

ROOT = "_exports"


def register(tables: Tables, folder: str) -> None:
    """Note that a folder holds an export, or soon will."""
    path = absolute(folder)
    tables.files.write(f"{ROOT}/{identity.run_key(path)}.json", json.dumps(path).encode())


def folders(tables: Tables) -> list[Files]:
    """The folders that were registered. Some may be gone."""
    paths = (json.loads(tables.files.read(file.path)) for file in tables.files.list(ROOT))
    return [open_folder(tables, path) for path in sorted(paths)]


def open_folder(tables: Tables, folder: str) -> Files:
    """The files of an export, with the options of the tables if both are in one kind of store."""
    return Files(folder, options_for(folder, tables.root, tables.files.options))
