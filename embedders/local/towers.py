"""The factory of the scheme `local`: one encoder for each modality."""

from embedders.local.audio import LocalAudio
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from store.errors import EncoderError

_TOWERS: dict[str, type] = {"image": LocalImage, "text": LocalText, "audio": LocalAudio}


def make(name: str) -> LocalAudio | LocalImage | LocalText:
    """Make the encoder of a modality.

    Args:
        name: image, text or audio.

    Raises:
        EncoderError: the name is none of these.
    """
    if name not in _TOWERS:
        allowed = ", ".join(f"local:{modality}" for modality in _TOWERS)
        raise EncoderError(f"local:{name} is not known; allowed: {allowed}")
    return _TOWERS[name]()
