"""Strict JSON for untrusted input: rejects texts that different parsers read differently."""

import json
from collections import Counter
from typing import Any, NoReturn

from store.errors import RecordError

_BOM = "\ufeff"


def parse(data: bytes, rule: str) -> Any:
    """Parse a JSON text.

    Args:
        data: the text in UTF-8.
        rule: the rule of the error.

    Raises:
        RecordError: the text is not UTF-8 or not JSON, is nested too deeply, has NaN or infinity,
            or repeats a key (parsers differ in which value they take).
    """
    try:
        return json.loads(decode(data, rule), parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise RecordError(rule, str(error)[:200]) from error


def canonical_json(value: Any, rule: str) -> str:
    """Write canonical JSON: keys sorted, no spaces, non-ASCII characters not escaped.

    Args:
        value: a JSON value.
        rule: the rule of the error.

    Raises:
        RecordError: the value cannot be written as JSON, or has strings that are not valid text.
    """
    try:
        canonical = json.dumps(
            value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        canonical.encode()  # "\ud800" is valid JSON, but cannot be encoded as UTF-8
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(rule, str(error)[:200]) from error
    return canonical


def decode(data: bytes, rule: str) -> str:
    """Decode strict UTF-8, without its byte order mark.

    Raises:
        RecordError: `data` is not UTF-8. `rule` is the rule of the error.
    """
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        message = f"not UTF-8 at byte {error.start}: 0x{data[error.start]:02x}{hint}"
        raise RecordError(rule, message) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members. Raises ValueError for a repeated key."""
    members = dict(pairs)
    if len(members) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {repeated[:50]!r} is repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
