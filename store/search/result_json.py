"""Results as JSON values and text. Bytes are in base64.

{"complete": true, "notes": [], "recall": 1.0,
 "types": {"id": "string not null", "_score": "float", "thumbnail": "binary"},
 "rows": [{"id": "3f0c...", "_score": 0.31, "thumbnail": "/9j/4AA..."}]}
"""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from store import strict_json
from store.errors import InputError, RecordError

_LIST, _NOT_NULL = "list<", " not null"


class ResultJson(NamedTuple):
    """What the JSON text of a result holds: its rows, and its other values by name."""

    rows: pa.Table
    remarks: dict[str, Any]


def row_values(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON values. NaN and infinity become null."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows.to_pylist()]


def write(rows: pa.Table, remarks: Mapping[str, Any]) -> str:
    """Write a result as JSON, with the Arrow types of its columns, so that `read` restores them."""
    types = {field.name: _type_name(field) for field in rows.schema}
    values = {**remarks, "types": types, "rows": row_values(rows)}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def read(text: str | bytes) -> ResultJson:
    """Read what `write` wrote.

    Raises:
        InputError: it is something else.
    """
    try:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        values = strict_json.parse(raw, "result")
        columns = pa.schema([_field(name, kind) for name, kind in values.pop("types").items()])
        rows = [_restored(row, columns) for row in values.pop("rows")]
        return ResultJson(pa.Table.from_pylist(rows, schema=columns), values)
    except RecordError as error:
        raise InputError(f"the result is not valid JSON: {error.error}") from None
    except (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the JSON is not that of a result: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _restored(row: Mapping[str, Any], columns: pa.Schema) -> dict[str, Any]:
    """A row whose bytes are bytes again. Raises ValueError if it has other columns."""
    if set(row) != set(columns.names):
        raise ValueError(f"a row has other columns than `types`: {', '.join(row)}"[:500])
    values = dict(row)
    for field in columns:
        is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        if is_bytes and row[field.name] is not None:
            values[field.name] = base64.b64decode(row[field.name], validate=True)
    return values


def _type_name(field: pa.Field) -> str:
    kind = field.type
    name = f"{_LIST}{kind.value_type}>" if pa.types.is_list(kind) else str(kind)
    return name if field.nullable else name + _NOT_NULL


def _field(name: str, written: str) -> pa.Field:
    kind = written.removesuffix(_NOT_NULL)
    if kind.startswith(_LIST):
        data_type = pa.list_(pa.type_for_alias(kind.removeprefix(_LIST).removesuffix(">")))
    else:
        data_type = pa.type_for_alias(kind)
    return pa.field(name, data_type, nullable=not written.endswith(_NOT_NULL))
