"""Captions from the names of files: `photos/water-lily_2.jpg` shows a "water lily"."""

import re
from posixpath import basename

_WORD = re.compile(r"[^\W\d_]+")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LEAST = 3  # letters of the longest word
# What cameras, phones and programs call files, whatever is in them.
_NOT_WORDS = {
    "audio", "copy", "dcim", "dsc", "dscf", "dscn", "file", "final", "frame", "image", "images",
    "img", "mov", "mvi", "new", "page", "photo", "photos", "pic", "pict", "picture", "pxl",
    "recording", "sample", "scan", "screenshot", "sound", "thumb", "thumbnail", "tmp", "track",
    "untitled", "vid", "video", "voice", "whatsapp",
}  # fmt: skip


def name_caption(key: str) -> str | None:
    """The words in the name of a file.

    Args:
        key: of its record: the path without its extension.

    Returns:
        The words in lower case, without numbers and the words that programs give. None if that
        leaves no word of three letters.
    """
    spaced = _CAPITAL.sub(" ", basename(key))
    words = [w for w in _WORD.findall(spaced.lower()) if w not in _NOT_WORDS]
    return " ".join(words) if max(map(len, words), default=0) >= _LEAST else None
