"""Captions and JSON: strictly UTF-8, and unchanged."""

from typing import Any

from store import strict_json
from store.config.limits import Limits
from store.errors import RecordError


def read_text(data: bytes, limits: Limits) -> str | None:
    """A text exactly as delivered, or None where it is nothing but white space.

    Only a byte order mark at its beginning goes: it tells the encoding and is not content, and
    with it the same caption would have two identities.

    Raises RecordError: `text.bytes`, `text.encoding` (not UTF-8), `text.nul`.
    """
    limits.check("text", len(data))
    return _checked(strict_json.decode(data, "text.encoding"))


def read_meta(data: bytes, limits: Limits) -> tuple[str, str | None]:
    """A JSON object in canonical form, and the caption in it, if any.

    Canonical: keys sorted, no spaces, non-ASCII characters as they are. The caption is the
    string under `caption`, else under `text`, by the rules of `read_text`.

    Raises RecordError: `meta.bytes`, `meta.json` (not UTF-8, not JSON, not an object, a key that
    stands twice, or numbers that JSON cannot hold), and what `read_text` raises, for the caption.
    """
    limits.check("meta", len(data))
    parsed = strict_json.parse(data, "meta.json")
    canonical = strict_json.write(parsed, "meta.json")
    if not isinstance(parsed, dict):
        raise RecordError("meta.json", f"an object is needed, found {type(parsed).__name__}")
    return canonical, _caption(parsed, limits)


def _caption(meta: dict[str, Any], limits: Limits) -> str | None:
    for name in ("caption", "text"):
        value = meta.get(name)
        if isinstance(value, str):
            limits.check("text", len(value.encode()))
            return _checked(value)
    return None


def _checked(text: str) -> str | None:
    nul = text.find("\0")
    if nul >= 0:
        raise RecordError("text.nul", f"a NUL at character {nul}")
    return text if text.strip() else None


def text_input(raw: bytes | str) -> str:
    """Raises RecordError: `text.encoding`, `text.empty`."""
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        text.encode()  # a str may hold half a surrogate pair, which no tokeniser takes
    except UnicodeError as error:
        raise RecordError("text.encoding", str(error)) from error
    if not text.strip():
        raise RecordError("text.empty", "nothing but white space")
    return text
