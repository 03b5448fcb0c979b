"""A row of a manifest as a record: what its columns hold, read where they name files.

Media are bytes, paths, URLs, or what Hugging Face calls them: {"bytes": ..., "path": ...}. A path
is relative to the manifest's folder, or absolute, and never leads out of the drop. Nothing is
fetched: a URL is a record that img2dataset has yet to fetch.
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
_FETCHED = re.compile(r"(https?|ftps?)://", re.IGNORECASE)
_FAILED = "failed_to_"  # img2dataset's status: failed_to_download, failed_to_resize
_MOST_BYTES = 4096  # of a value in `meta`; of longer ones it tells the size


class RowReader:
    """Makes the records of one manifest's rows."""

    def __init__(self, unit: Unit, limits: Limits):
        self.unit, self.columns, self.limits = unit, unit.columns, limits
        self.source = printable(unit.paths[0])
        self.folder = dirname(unit.paths[0])

    def record(self, row: Row | RecordError, default_key: str) -> Record | BadRecord:
        """A row's record. Whatever is wrong with it is said by the BadRecord, and never raised."""
        if isinstance(row, RecordError):
            return self.bad(default_key, row)
        key = default_key
        try:
            key = self._key(row) or default_key
            return self._read(row, key)
        except RecordError as error:
            return self.bad(key, error)
        except Exception as error:  # one row never costs those beside it
            return self.bad(key, unexpected(error))

    def bad(self, key: str, error: RecordError) -> BadRecord:
        return BadRecord(self.source, key, error)

    def _key(self, row: Row) -> str | None:
        name = _first(row, self.columns.key)
        if name is None or isinstance(row[name], dict | list | float):
            return None
        value = row[name]
        return printable(value if isinstance(value, bytes) else str(value)) or None

    def _read(self, row: Row, key: str) -> Record:
        for value in row.values():
            if isinstance(value, RecordError):
                raise value
        if (failed := fetch_failure(row)) is not None:
            raise failed
        record = Record(self.source, key)
        used = {_first(row, self.columns.key)}
        for medium, column in self._media(row):
            used.add(column)
            data, shown = self._content(medium, column, row[column])
            setattr(record, medium, data)
            setattr(record, f"{medium}_name", shown)
        name = _first(row, self.columns.text)
        if name is not None:
            used.add(name)
            record.text = _text(name, row[name])
            self.limits.check("text", len(record.text))
        if record.image is None and record.audio is None and record.text is None:
            there = ", ".join(str(n) for n in row)[:200]
            said = f"no picture, sound or text in {there}; `columns:` of the source names them"
            raise RecordError("record.empty", said)
        record.meta = self._meta(row, used)
        return record

    def _media(self, row: Row) -> Iterator[tuple[Medium, str]]:
        """The columns that hold the row's media, and what they hold."""
        found: dict[Medium, str | None] = {
            "image": _first(row, self.columns.image),
            "audio": _first(row, self.columns.audio),
        }
        if not any(found.values()) and (name := _first(row, self.columns.file)) is not None:
            path = row[name]
            role = role_of(extension_of(path)) if isinstance(path, str) else None
            found["audio" if role == "audio" else "image"] = name
        yield from ((m, name) for m, name in found.items() if name is not None)

    def _content(self, medium: Medium, name: str, value: Any) -> tuple[bytes, str]:
        """A medium's bytes, and what they are called."""
        if isinstance(value, dict):
            held, path = value.get("bytes"), value.get("path")
            value = path if held is None else held
            name = path if isinstance(path, str) else name
        if isinstance(value, bytes):
            self.limits.check(medium, len(value))
            return value, printable(name)
        if not isinstance(value, str):
            said = f"column {name}: bytes, a path or a URL is needed, found {type(value).__name__}"
            raise RecordError(f"{medium}.column", said)
        path = self.path(value)
        return read_part(self.unit.root, path, medium, self.limits), printable(path)

    def path(self, value: str) -> str:
        """A path as the drop knows it.

        Raises RecordError: `fetch.missing` for a URL, `file.outside` for what leads out of it.
        """
        root = self.unit.root
        is_local = "://" not in root
        value = value.removeprefix("file://") if is_local else value
        if value.startswith(f"{root}/"):
            path = value[len(root) + 1 :]
        elif _FETCHED.match(value):
            said = f"{value[:200]!r} has not been fetched: that is img2dataset's job"
            raise RecordError("fetch.missing", said)
        elif _URL.match(value) or (isabs(value) and not is_local):
            path = ".."
        else:
            path = relpath(value, realpath(root)) if isabs(value) else join(self.folder, value)
        path = normpath(path)
        if path == ".." or path.startswith("../"):
            said = f"{value[:200]!r} leads out of the drop, and is not followed"
            raise RecordError("file.outside", said)
        return path

    def _meta(self, row: Row, used: set[str | None]) -> bytes | None:
        languages = {
            code: row[name]
            for code, name in self.columns.captions
            if isinstance(row.get(name), str) and row[name].strip()
        }
        used = used | {name for _, name in self.columns.captions}
        rest = {n: plain(v) for n, v in row.items() if n not in used and v is not None and v != b""}
        if languages:
            known = rest.get("captions")
            rest["captions"] = {**(known if isinstance(known, dict) else {}), **languages}
        if not rest:
            return None
        try:
            return json.dumps(rest, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:  # half a surrogate pair is no text
            raise RecordError("meta.json", str(error)[:200]) from error

    def named(self, row: Row | RecordError) -> Iterator[str]:
        """The paths that a row names, as the drop knows them."""
        if isinstance(row, RecordError):
            return
        for _, name in self._media(row):
            value = row[name].get("path") if isinstance(row[name], dict) else row[name]
            if isinstance(value, str):
                try:
                    yield self.path(value)
                except RecordError:  # said where the row is read
                    continue


def fetch_failure(row: Row) -> RecordError | None:
    """What img2dataset said of a row that it could not fetch or resize."""
    status, said = row.get("status"), row.get("error_message")
    if not isinstance(status, str) or not status.startswith(_FAILED):
        return None
    return RecordError("fetch.failed", f"{status}: {said or 'it does not say why'}"[:500])


def unexpected(error: Exception) -> RecordError:
    """What nobody has thought of, as a record's error."""
    return RecordError("record.unexpected", f"{type(error).__name__}: {error}"[:300])


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinities are null, bytes are text, or base64, or (above
    4 kB) their size; times and decimals are written out."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_name(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        if len(value) > _MOST_BYTES:
            return {"bytes": len(value)}
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode("ascii")}
    return str(value)


def _name(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))


def _text(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        said = f"column {name}: words are needed, found {type(value).__name__}"
        raise RecordError("text.column", said)
    return value.encode("utf-8", "surrogatepass")  # half a pair fails as text.encoding later


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of these columns that the row has something in."""
    return next((n for n in names if not _is_nothing(row.get(n))), None)


def _is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < 64 and not value.strip()
    if isinstance(value, dict):
        return value.get("bytes") is None and not value.get("path")
    return value is None or (isinstance(value, float) and math.isnan(value))
