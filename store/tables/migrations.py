"""Migrations of tables from one format to the next (`store.tables.formats`)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lance

from store.errors import FormatError
from store.tables import formats
from store.tables.formats import FORMAT_KEY, format_of
from store.tables.lance_tables import Tables

_PROGRESS = "isotrope.migration"


@dataclass(frozen=True)
class Migration:
    """Takes tables from one format to the next, in steps.

    A step is a function of the open dataset that commits at most once. A step that was interrupted
    runs again, so it must do nothing if its commit is already there.

    Attributes:
        name: of the migration. Unique.
        from_format: the format that it reads.
        to_format: the format that it writes.
        steps: by name, in order. Each gets the name of the table and its newest version.
    """

    name: str
    from_format: int
    to_format: int
    steps: Mapping[str, Callable[[str, lance.LanceDataset], Any]]


MIGRATIONS: tuple[Migration, ...] = ()


def migrate(tables: Tables, name: str) -> list[str]:
    """Bring a table to the current format.

    The steps that are done are recorded in the table, so an interrupted migration continues with
    the next step. The last commit sets the format and removes the record.

    Args:
        tables: of the corpus.
        name: of the table.

    Returns:
        The names of the migrations that were run to their end.

    Raises:
        FormatError: no migration leads to the current format, or the table has a newer one.
    """
    done: list[str] = []
    schema = tables.open(name, any_format=True).schema
    if format_of(schema) >= formats.FORMAT:
        formats.check_format(name, schema, None)
        return done
    with tables.lock(name):
        while (format_ := format_of(tables.open(name, any_format=True).schema)) != formats.FORMAT:
            migration = _next(name, format_)
            _run(tables, name, migration)
            done.append(migration.name)
    return done


def migrate_all(tables: Tables) -> dict[str, list[str]]:
    """Bring all tables to the current format; return the migrations that were run, by table."""
    done = {name: migrate(tables, name) for name in tables.names()}
    return {name: migrations for name, migrations in done.items() if migrations}


def _next(name: str, format_: int) -> Migration:
    for migration in MIGRATIONS:
        if migration.from_format == format_:
            return migration
    raise FormatError(
        f"table {name!r} has format {format_}, and no migration leads from there to format"
        f" {formats.FORMAT}"
    )


def _run(tables: Tables, name: str, migration: Migration) -> None:
    for step, apply in migration.steps.items():
        dataset = tables.open(name, any_format=True)
        progress = _progress(dataset, migration)
        if step in progress:
            continue
        apply(name, dataset)
        record = json.dumps({"migration": migration.name, "steps": [*progress, step]})
        tables.open(name, any_format=True).update_schema_metadata({_PROGRESS: record})
    tables.open(name, any_format=True).update_schema_metadata(
        {FORMAT_KEY: str(migration.to_format), _PROGRESS: None}
    )


def _progress(dataset: lance.LanceDataset, migration: Migration) -> list[str]:
    """The steps of a migration that are done."""
    record = json.loads((dataset.schema.metadata or {}).get(_PROGRESS.encode(), b"{}"))
    return record["steps"] if record.get("migration") == migration.name else []
