"""The words of captions, as queries are suggested from them and items are given words."""

import re

_CAPTION = 1_000  # characters of a caption that are read
_WORD = re.compile(r"[^\W\d_]{3,30}")


def words_of(text: str) -> set[str]:
    """The words of a text in lower case: 3 to 30 letters, of its first 1,000 characters."""
    return set(_WORD.findall(text[:_CAPTION].lower()))
