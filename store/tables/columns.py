"""Compares the columns of a table with the columns that the code expects.

Tables outlive versions of the code, and other tools add columns to them. Three cases are handled
without losing rows:

- The table has columns that the code does not know: they belong to the user and are kept.
- The table lacks a column that may be null: it is read as nulls and added when rows are written.
- Any other difference raises `SchemaError`.
"""

from collections.abc import Sequence
from typing import TypeVar

import lance
import pyarrow as pa

from store.errors import SchemaError

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def missing(
    table: str, actual: pa.Schema, expected: pa.Schema, columns: Sequence[str] | None = None
) -> list[pa.Field]:
    """The expected columns that a table lacks, all of which may be null.

    Args:
        table: its name, for the error message.
        actual: the columns of the table.
        expected: the columns that the code knows.
        columns: compare only these. None: all columns of `expected`.

    Raises:
        SchemaError: a column has another type, or the table lacks a column that cannot be null.
    """
    absent = []
    for name in expected.names if columns is None else columns:
        field = expected.field(name)
        if name in actual.names:
            if not actual.field(name).type.equals(field.type):
                raise _error(table, name, f"has the type {actual.field(name).type}", field)
        elif field.nullable:
            absent.append(field)
        else:
            raise _error(table, name, "is missing", field)
    return absent


def check_nulls(table: str, actual: pa.Schema, expected: pa.Schema) -> None:
    """Raise SchemaError if the code may write nulls into a column that cannot be null."""
    for field in expected:
        if field.nullable and field.name in actual.names and not actual.field(field.name).nullable:
            raise _error(table, field.name, "cannot be null", field)


def unknown(actual: pa.Schema, expected: pa.Schema) -> list[pa.Field]:
    """The columns of a table that the code does not know."""
    return [field for field in actual if field.name not in expected.names]


def same_columns(actual: pa.Schema, expected: pa.Schema) -> bool:
    """Whether both have the same columns, in any order, which may be null in the same places."""
    return len(actual) == len(expected) and all(
        f.name in actual.names and actual.field(f.name).equals(f) for f in expected
    )


def differ_in_width(actual: pa.Schema, expected: pa.Schema) -> bool:
    """Whether a column of vectors has another number of dimensions, or another type of numbers.

    Also a column of lists of vectors.

    All else must be equal. Vectors of another width were made by another encoder and cannot be
    compared with new ones. Another type follows from the setting `vectors`.
    """
    pairs = [(actual.field(f.name).type, f.type) for f in expected if f.name in actual.names]
    different = [(a, b) for a, b in pairs if not a.equals(b)]
    return bool(different) and all(
        pa.types.is_list(a) == pa.types.is_list(b) and _is_vectors(a) and _is_vectors(b)
        for a, b in different
    )


def _is_vectors(data_type: pa.DataType) -> bool:
    """Whether a type is that of a vector, or of a list of vectors."""
    inner = data_type.value_type if pa.types.is_list(data_type) else data_type
    return pa.types.is_fixed_size_list(inner) and (
        pa.types.is_floating(inner.value_type) or pa.types.is_int8(inner.value_type)
    )


def with_nulls(rows: Rows, expected: pa.Schema, columns: Sequence[str]) -> Rows:
    """Rows with exactly these columns, in this order. Those that `rows` lacks are null."""
    present = rows.schema.names
    fields = [rows.schema.field(n) if n in present else expected.field(n) for n in columns]
    arrays = [
        rows.column(f.name) if f.name in present else pa.nulls(rows.num_rows, f.type)
        for f in fields
    ]
    return type(rows).from_arrays(arrays, schema=pa.schema(fields))


def _error(table: str, column: str, problem: str, expected: pa.Field) -> SchemaError:
    null = "may be null" if expected.nullable else "cannot be null"
    return SchemaError(
        f"table {table!r}: column {column!r} {problem}, but this version of isotrope expects the"
        f" type {expected.type} ({null}). Nothing was written. Use the version of isotrope that"
        " wrote the table, or undo the change with the tool that made it: Lance keeps earlier"
        " versions (`checkout_version` and `restore`)"
    )


def read(
    dataset: lance.LanceDataset,
    name: str,
    schema: pa.Schema,
    columns: Sequence[str],
    where: str | None = None,
) -> pa.Table:
    """Read columns of an open table into memory. See `Tables.scan`."""
    absent = {field.name for field in missing(name, dataset.schema, schema, columns)}
    present = [column for column in columns if column not in absent]
    try:
        rows = dataset.to_table(columns=present, filter=where, with_row_id=not present)
    except ValueError as error:
        if "No field named" in str(error):
            raise SchemaError(
                f"table {name!r} lacks a column of the condition {where!r}: {error}"
            ) from error
        raise
    return with_nulls(rows, schema, columns) if absent else rows
