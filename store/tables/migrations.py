"""The format version of tables, and the migrations between formats.

Every table carries its format as the schema metadata `isotrope.format`. A table without it has
format 1. Raise `FORMAT` and add a `Migration` when the code can no longer read older tables; adding
a column that may be null needs neither (`store.tables.columns`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lance
import pyarrow as pa

from store.errors import FormatError

if TYPE_CHECKING:
    from store.tables.lance_tables import Tables

FORMAT = 1
_FORMAT = "isotrope.format"
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


def with_format(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata of a new table. Its `str` differs: never hash it."""
    return schema.with_metadata({_FORMAT: str(FORMAT)})


def format_of(schema: pa.Schema) -> int:
    """The format of a table with this schema."""
    return int((schema.metadata or {}).get(_FORMAT.encode(), b"1"))


def check_format(name: str, schema: pa.Schema, version: int | str | None) -> None:
    """Check that the code can read a table.

    An older version that was opened by number or tag may have an older format: only the newest
    version of a table is migrated.

    Raises:
        FormatError: the table has a newer format, or its newest version has an older one.
    """
    format_ = format_of(schema)
    if format_ > FORMAT:
        raise FormatError(
            f"table {name!r} has format {format_}, but this version of isotrope reads formats up to"
            f" {FORMAT}. Nothing was changed. Install the version of isotrope that wrote the table,"
            " or a newer one"
        )
    if format_ < FORMAT and version is None:
        raise FormatError(
            f"table {name!r} has format {format_} and must be migrated to format {FORMAT}:"
            " `isotrope run` does that first. Stop programs of older versions before"
        )


def migrate(tables: "Tables", name: str) -> list[str]:
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
    if format_of(tables.open(name, any_format=True).schema) == FORMAT:
        return done
    with tables.lock(name):
        while (format_ := format_of(tables.open(name, any_format=True).schema)) != FORMAT:
            migration = _next(name, format_)
            _run(tables, name, migration)
            done.append(migration.name)
    return done


def migrate_all(tables: "Tables") -> dict[str, list[str]]:
    """Bring all tables to the current format; return the migrations that were run, by table."""
    done = {name: migrate(tables, name) for name in tables.names()}
    return {name: migrations for name, migrations in done.items() if migrations}


def _next(name: str, format_: int) -> Migration:
    for migration in MIGRATIONS:
        if migration.from_format == format_:
            return migration
    raise FormatError(
        f"table {name!r} has format {format_}, and no migration leads from there to format {FORMAT}"
    )


def _run(tables: "Tables", name: str, migration: Migration) -> None:
    for step, apply in migration.steps.items():
        dataset = tables.open(name, any_format=True)
        progress = _progress(dataset, migration)
        if step in progress:
            continue
        apply(name, dataset)
        record = json.dumps({"migration": migration.name, "steps": [*progress, step]})
        tables.open(name, any_format=True).update_schema_metadata({_PROGRESS: record})
    tables.open(name, any_format=True).update_schema_metadata(
        {_FORMAT: str(migration.to_format), _PROGRESS: None}
    )


def _progress(dataset: lance.LanceDataset, migration: Migration) -> list[str]:
    """The steps of a migration that are done."""
    record = json.loads((dataset.schema.metadata or {}).get(_PROGRESS.encode(), b"{}"))
    return record["steps"] if record.get("migration") == migration.name else []
