"""Text as encoders take it: a string that is whole and says something."""

from store.errors import RecordError


def read_text(raw: bytes | str) -> str:
    """Raises RecordError: `text.encoding`, `text.empty`."""
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        text.encode()  # a str may hold half a surrogate pair, which no tokeniser takes
    except UnicodeError as error:
        raise RecordError("text.encoding", str(error)) from error
    if not text.strip():
        raise RecordError("text.empty", "nothing but white space")
    return text
