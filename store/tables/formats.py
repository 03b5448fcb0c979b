"""The format version of tables, as the schema metadata `isotrope.format`.

A table without it has format 1. Raise `FORMAT`, and add a migration (`store.tables.migrations`),
when the code can no longer read older tables. Adding a column that may be null needs neither
(`store.tables.columns`).
"""

import pyarrow as pa

from store.errors import FormatError

FORMAT = 1
FORMAT_KEY = "isotrope.format"


def with_format(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata of a new table. Its `str` differs: never hash it."""
    return schema.with_metadata({FORMAT_KEY: str(FORMAT)})


def format_of(schema: pa.Schema) -> int:
    """The format of a table with this schema."""
    return int((schema.metadata or {}).get(FORMAT_KEY.encode(), b"1"))


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
