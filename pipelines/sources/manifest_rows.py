"""Turns a row of a manifest into a record, and reads the files that the row names.

Media columns hold bytes, paths, URLs, or the structs of Hugging Face's datasets: {"bytes": ...,
"path": ...}. A path is relative to the manifest's folder, or absolute, and must not lead out of
the drop. Nothing is fetched: a URL is a bad record (`fetch.missing`), to be fetched by
img2dataset first.
"""

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from os.path import realpath
from posixpath import dirname, isabs, join, normpath, relpath
from typing import Any, Literal

from pipelines.sources.folder import extension_of, read_part
from pipelines.sources.records import BadRecord, Record, Unit, printable, role_of
from store.config.limits import Limits
from store.errors import RecordError

Medium = Literal["image", "audio"]
Row = Mapping[str, Any]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")
_FETCHABLE_URL = re.compile(r"(https?|ftps?)://", re.IGNORECASE)
_FAILED_STATUS = "failed_to_"  # img2dataset writes failed_to_download, failed_to_resize
_MAX_META_BYTES = 4096  # of a bytes value in `meta`; of a longer one only its size is stored


class RowReader:
    """Makes the records of one manifest's rows."""

    def __init__(self, unit: Unit, limits: Limits):
        self.unit, self.columns, self.limits = unit, unit.columns, limits
        self.source = printable(unit.paths[0])
        self.folder = dirname(unit.paths[0])

    def record(self, row: Row | RecordError, default_key: str) -> Record | BadRecord:
        """The record of a row. Every error becomes a BadRecord; nothing is raised.

        Args:
            row: the row, or the error of reading it.
            default_key: the record's key where the row has none.
        """
        if isinstance(row, RecordError):
            return self.bad(default_key, row)
        key = default_key
        try:
            key = self._key(row) or default_key
            return self._read(row, key)
        except Exception as error:  # one row must not cost the others
            return self.bad(key, as_record_error(error))

    def bad(self, key: str, error: RecordError) -> BadRecord:
        """A bad record of this manifest."""
        return BadRecord(self.source, key, error)

    def _key(self, row: Row) -> str | None:
        name = _first_filled(row, self.columns.key)
        if name is None or isinstance(row[name], dict | list | float):
            return None
        value = row[name]
        return printable(value if isinstance(value, bytes) else str(value)) or None

    def _read(self, row: Row, key: str) -> Record:
        for value in row.values():
            if isinstance(value, RecordError):
                raise value
        if (failure := fetch_failure(row)) is not None:
            raise failure
        record = Record(self.source, key)
        used = {_first_filled(row, self.columns.key)}
        for medium, media_column in self._media_columns(row):
            used.add(media_column)
            data, name = self._content(medium, media_column, row[media_column])
            setattr(record, medium, data)
            setattr(record, f"{medium}_name", name)
        column = _first_filled(row, self.columns.text)
        if column is not None:
            used.add(column)
            record.text = _text(column, row[column])
            self.limits.check("text", len(record.text))
        if record.image is None and record.audio is None and record.text is None:
            names = ", ".join(str(n) for n in row)[:200]
            raise RecordError(
                "record.empty",
                f"no image, audio or text in the columns {names}; name the right columns under"
                " `columns:` of the source",
            )
        record.meta = self._meta(row, used)
        return record

    def _media_columns(self, row: Row) -> Iterator[tuple[Medium, str]]:
        """The columns that hold the row's media, each with its medium."""
        columns: dict[Medium, str | None] = {
            "image": _first_filled(row, self.columns.image),
            "audio": _first_filled(row, self.columns.audio),
        }
        if not any(columns.values()):
            column = _first_filled(row, self.columns.file)
            if column is not None:
                path = row[column]
                role = role_of(extension_of(path)) if isinstance(path, str) else None
                columns["audio" if role == "audio" else "image"] = column
        yield from ((medium, name) for medium, name in columns.items() if name is not None)

    def _content(self, medium: Medium, column: str, value: Any) -> tuple[bytes, str]:
        """The bytes of a media value, and a name for them: the file's path or the column."""
        name = column
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
            value = path if data is None else data
            name = path if isinstance(path, str) else name
        if isinstance(value, bytes):
            self.limits.check(medium, len(value))
            return value, printable(name)
        if not isinstance(value, str):
            kind = type(value).__name__
            message = f"column {name}: bytes, a path or a URL is needed, found {kind}"
            raise RecordError(f"{medium}.column", message)
        path = self.path(value)
        return read_part(self.unit.root, path, medium, self.limits), printable(path)

    def path(self, value: str) -> str:
        """A path or file URL of a row, relative to the drop's root.

        Raises:
            RecordError: `fetch.missing` for a URL that img2dataset could fetch, `file.outside`
                for a path out of the drop and for other URLs.
        """
        root = self.unit.root
        is_local = "://" not in root
        value = value.removeprefix("file://") if is_local else value
        if value.startswith(f"{root}/"):
            path = value[len(root) + 1 :]
        elif _FETCHABLE_URL.match(value):
            message = f"{value[:200]!r} is not fetched yet; fetch the URLs with img2dataset first"
            raise RecordError("fetch.missing", message)
        elif _URL.match(value) or (isabs(value) and not is_local):
            path = ".."
        else:
            path = relpath(value, realpath(root)) if isabs(value) else join(self.folder, value)
        path = normpath(path)
        if path == ".." or path.startswith("../"):
            message = f"{value[:200]!r} points outside the drop and is not followed"
            raise RecordError("file.outside", message)
        return path

    def _meta(self, row: Row, used: set[str | None]) -> bytes | None:
        """The columns that are not `used`, as JSON; None where all of them are empty."""
        captions = {
            language: row[name]
            for language, name in self.columns.captions
            if isinstance(row.get(name), str) and row[name].strip()
        }
        used = used | {name for _, name in self.columns.captions}
        meta = {
            n: json_value(v) for n, v in row.items() if n not in used and v is not None and v != b""
        }
        if captions:
            own = meta.get("captions")
            meta["captions"] = {**(own if isinstance(own, dict) else {}), **captions}
        if not meta:
            return None
        try:
            return json.dumps(meta, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:  # half of a surrogate pair cannot be encoded
            raise RecordError("meta.json", str(error)[:200]) from error

    def named_paths(self, row: Row | RecordError) -> Iterator[str]:
        """The paths of the files that a row names, relative to the drop's root."""
        if isinstance(row, RecordError):
            return
        for _, column in self._media_columns(row):
            value = row[column].get("path") if isinstance(row[column], dict) else row[column]
            if isinstance(value, str):
                try:
                    yield self.path(value)
                except RecordError:  # reported when the row is read
                    continue


def fetch_failure(row: Row) -> RecordError | None:
    """The error of a row that img2dataset could not fetch or resize, in its own words; else None.

    img2dataset's columns `status` and `error_message` say so.
    """
    status, message = row.get("status"), row.get("error_message")
    if not isinstance(status, str) or not status.startswith(_FAILED_STATUS):
        return None
    return RecordError("fetch.failed", f"{status}: {message or 'no error message'}"[:500])


def as_record_error(error: Exception) -> RecordError:
    """The error itself if it is a RecordError, else one with the rule `record.unexpected`."""
    if isinstance(error, RecordError):
        return error
    return RecordError("record.unexpected", f"{type(error).__name__}: {error}"[:300])


def json_value(value: Any) -> Any:
    """Convert a value to what JSON can hold.

    NaN and infinities become null. Bytes become text if they are UTF-8, else base64; of more than
    4 kB only the size is kept. Times, decimals and other types become their string.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_json_key(k): json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    if isinstance(value, bytes):
        if len(value) > _MAX_META_BYTES:
            return {"bytes": len(value)}
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode("ascii")}
    return str(value)


def _json_key(key: Any) -> str:
    return key if isinstance(key, str) else str(json_value(key))


def _text(column: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise RecordError(
            "text.column", f"column {column}: text is needed, found {type(value).__name__}"
        )
    # Half of a surrogate pair passes here, and fails later with the rule text.encoding.
    return value.encode("utf-8", "surrogatepass")


def _first_filled(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of these columns in which the row has a value."""
    return next((n for n in names if not _is_empty(row.get(n))), None)


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < 64 and not value.strip()
    if isinstance(value, dict):
        return value.get("bytes") is None and not value.get("path")
    return value is None or (isinstance(value, float) and math.isnan(value))
