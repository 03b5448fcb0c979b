"""The `local` space: encoders whose weights come with packages, so that no model hub is needed.

A vector has two halves, so that a cosine is a weighted sum of two:

- a place among meanings: text by MiniLM, pictures by the names of the classes that they look like
  (ConSE), which needs no training;
- a place in a space of 320 dimensions that heads learned from captioned drawings.

Recordings are heard through the image encoder, and a head places them in both halves.
`pipelines/local_heads` trains the heads, docs/local.md says how well they do.
"""

from embedders.local.audio import LocalAudio
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from store.errors import EncoderError

__all__ = ["LocalAudio", "LocalImage", "LocalText", "make"]

_TOWERS: dict[str, type] = {"image": LocalImage, "text": LocalText, "audio": LocalAudio}


def make(name: str) -> LocalAudio | LocalImage | LocalText:
    """The tower of a modality. Raises EncoderError where there is none of that name."""
    if name not in _TOWERS:
        allowed = ", ".join(f"local:{modality}" for modality in _TOWERS)
        raise EncoderError(f"local:{name}: allowed are {allowed}")
    return _TOWERS[name]()
