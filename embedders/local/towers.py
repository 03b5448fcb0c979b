"""The towers of the `local` space by modality."""

from embedders.local.audio import LocalAudio
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from store.errors import EncoderError

_TOWERS: dict[str, type] = {"image": LocalImage, "text": LocalText, "audio": LocalAudio}


def make(name: str) -> LocalAudio | LocalImage | LocalText:
    """The tower of a modality. Raises EncoderError where there is none of that name."""
    if name not in _TOWERS:
        allowed = ", ".join(f"local:{modality}" for modality in _TOWERS)
        raise EncoderError(f"local:{name}: allowed are {allowed}")
    return _TOWERS[name]()
