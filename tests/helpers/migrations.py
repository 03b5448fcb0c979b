"""A migration from format 1 to 2 in three steps: `id` becomes `old_id`, and `name` is added.

Run as a program, it migrates the tables in a folder. Few imports: tests kill it while it works.
"""

import sys
import time
from pathlib import Path

import lance

from store.tables import formats, migrations
from store.tables.lance_tables import Tables
from store.tables.migrations import Migration


def copy(name: str, dataset: lance.LanceDataset) -> None:
    time.sleep(0.02)
    if "name" not in dataset.schema.names:
        dataset.add_columns({"name": "concat('n', CAST(id AS STRING))"})
    time.sleep(0.02)


def rename(name: str, dataset: lance.LanceDataset) -> None:
    if "old_id" not in dataset.schema.names:
        dataset.alter_columns({"path": "id", "name": "old_id"})
    time.sleep(0.02)


def count(name: str, dataset: lance.LanceDataset) -> None:
    """Leaves a trace each time that it runs."""
    with Path(dataset.uri, "..", "counted").open("a") as file:
        file.write(f"{dataset.count_rows()}\n")
    time.sleep(0.02)


RENAMED = Migration("name-from-id", 1, 2, {"copy": copy, "rename": rename, "count": count})


MIGRATION = Migration("name-from-id", 1, 2, {"copy": copy, "rename": rename, "count": count})

if __name__ == "__main__":
    formats.FORMAT, migrations.MIGRATIONS = 2, (MIGRATION,)
    print("ready", flush=True)
    migrations.migrate_all(Tables(sys.argv[1]))
