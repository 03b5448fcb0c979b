"""The `limits:` section of corpus.yaml: the largest sizes that a record may have."""

from typing import Annotated, Literal

from pydantic import Field

from store.config.section import PositiveInt, Section
from store.errors import RecordError

Role = Literal["image", "audio", "text", "meta"]


class Limits(Section):
    """Upper bounds of the parts of one record. A record that exceeds one is rejected without being
    read or decoded.

    Attributes:
        image_bytes: size of an image as delivered.
        image_pixels: width times height, before decoding.
        audio_bytes: size of an audio file as delivered.
        audio_seconds: playing time.
        text_bytes: size of a text as delivered.
        meta_bytes: size of the metadata as delivered.
    """

    image_bytes: PositiveInt = 64 << 20
    image_pixels: PositiveInt = 100_000_000
    audio_bytes: PositiveInt = 256 << 20
    audio_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0
    text_bytes: PositiveInt = 1 << 20
    meta_bytes: PositiveInt = 1 << 20

    def check(self, role: Role, size: int) -> None:
        """Check the size of a part.

        Args:
            role: which part of the record it is.
            size: in bytes, as delivered.

        Raises:
            RecordError: the part exceeds its limit. The record is rejected, not failed.
        """
        limit = getattr(self, f"{role}_bytes")
        if size > limit:
            raise RecordError(
                f"{role}.bytes",
                f"{size} bytes, at most {limit} are read",
                value=size,
                threshold=limit,
            )
