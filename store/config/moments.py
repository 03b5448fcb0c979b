"""The `moments:` section of corpus.yaml: windows of recordings and tiles of images."""

from typing import Annotated

from pydantic import Field

from store.config.section import Section


class AudioMoments(Section):
    """Windows of recordings.

    Attributes:
        seconds: the length of a window.
        step: seconds from the start of a window to that of the next one.
        most: windows of a recording. What comes later has none.
    """

    seconds: Annotated[float, Field(ge=0.1, le=600)] = 2.0
    step: Annotated[float, Field(ge=0.1, le=600)] = 1.0
    most: Annotated[int, Field(ge=1, le=1000)] = 300

    @property
    def option(self) -> str:
        """The value of the option `moments` of an encoder's spec."""
        return f"{self.seconds:g},{self.step:g},{self.most}"


class ImageMoments(Section):
    """Tiles of images.

    Attributes:
        tiles: in a row and in a column.
        overlap: the share of a tile's side that it has in common with the next one.
    """

    tiles: Annotated[int, Field(ge=2, le=8)] = 2
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.0

    @property
    def option(self) -> str:
        """The value of the option `moments` of an encoder's spec."""
        return f"{self.tiles},{self.overlap:g}"


class Moments(Section):
    """Which items get moments. Without this section none get them.

    Attributes:
        audio: windows of recordings; without it there are none.
        image: tiles of images; without it there are none.
    """

    audio: AudioMoments | None = None
    image: ImageMoments | None = None

    @property
    def options(self) -> dict[str, str]:
        """The option `moments` of the specs of encoders, by modality."""
        by_modality = {"audio": self.audio, "image": self.image}
        return {m: section.option for m, section in by_modality.items() if section is not None}
