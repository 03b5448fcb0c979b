"""JSON as a hostile sender writes it: one value that means the same to everybody, or an error."""

import json
from collections import Counter
from typing import Any, NoReturn

from store.errors import RecordError

_BOM = "\ufeff"


def parse(data: bytes, rule: str) -> Any:
    """The value of a JSON text.

    Raises RecordError `rule`: not UTF-8, not JSON, nested too deeply, a key that stands twice (of
    which readers take one or the other), or numbers that JSON cannot hold.
    """
    try:
        return json.loads(decode(data, rule), parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise RecordError(rule, str(error)[:200]) from error


def write(value: Any, rule: str) -> str:
    """Canonical JSON: keys sorted, no spaces, non-ASCII characters as they are.

    Raises RecordError `rule` for what is no JSON value, or no valid text.
    """
    try:
        canonical = json.dumps(
            value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        canonical.encode()  # "\ud800" is valid JSON and no valid text
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(rule, str(error)[:200]) from error
    return canonical


def decode(data: bytes, rule: str) -> str:
    """Strict UTF-8, less a byte order mark. Raises RecordError `rule`."""
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        message = f"not UTF-8 at byte {error.start}: 0x{data[error.start]:02x}{hint}"
        raise RecordError(rule, message) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:50]!r} stands twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
