"""Decode text and JSON: check captions and metadata as delivered, and load text for encoders.

Bytes must be strict UTF-8; the text itself is not changed.
"""

from typing import Any

from store import strict_json
from store.config.limits import Limits
from store.errors import RecordError


def read_text(data: bytes, limits: Limits) -> str | None:
    """Check a text and decode it without change.

    Only a byte order mark at its beginning is removed. It marks the encoding and is not content:
    if it stayed, the same caption would have two identities.

    Args:
        data: the text as delivered.
        limits: the largest sizes that are read.

    Returns:
        The text, or None if it has nothing but white space.

    Raises:
        RecordError: `text.bytes`, `text.encoding` (not UTF-8), `text.nul`.
    """
    limits.check("text", len(data))
    return _check_text(strict_json.decode(data, "text.encoding"))


def read_meta(data: bytes, limits: Limits) -> tuple[str, str | None]:
    """Check a JSON object and take the caption out of it.

    Args:
        data: the JSON text as delivered.
        limits: the largest sizes that are read.

    Returns:
        The object in canonical form (keys sorted, no spaces, non-ASCII characters as they are),
        and its caption: the string under `caption`, else the one under `text`, with the checks
        of `read_text`; None if there is none.

    Raises:
        RecordError: `meta.bytes`, `meta.json` (not UTF-8, not JSON, not an object, a key that
            occurs twice, or numbers that JSON cannot hold), and the rules of `read_text` for the
            caption.
    """
    limits.check("meta", len(data))
    parsed = strict_json.parse(data, "meta.json")
    canonical = strict_json.canonical_json(parsed, "meta.json")
    if not isinstance(parsed, dict):
        message = f"the JSON value must be an object, not {type(parsed).__name__}"
        raise RecordError("meta.json", message)
    return canonical, _caption(parsed, limits)


def load_text(raw: bytes | str) -> str:
    """Load a text as the input of an encoder.

    Args:
        raw: the text, or its UTF-8 bytes.

    Raises:
        RecordError: `text.encoding` (not UTF-8, or a str with half a surrogate pair),
            `text.empty` (nothing but white space).
    """
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        text.encode()  # raises on half a surrogate pair, which no tokeniser accepts
    except UnicodeError as error:
        raise RecordError("text.encoding", str(error)) from error
    if not text.strip():
        raise RecordError("text.empty", "the text is nothing but white space")
    return text


def _caption(meta: dict[str, Any], limits: Limits) -> str | None:
    for name in ("caption", "text"):
        value = meta.get(name)
        if isinstance(value, str):
            limits.check("text", len(value.encode()))
            return _check_text(value)
    return None


def _check_text(text: str) -> str | None:
    nul = text.find("\0")
    if nul >= 0:
        raise RecordError("text.nul", f"character {nul} is NUL")
    return text if text.strip() else None
