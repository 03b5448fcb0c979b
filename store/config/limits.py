"""The `limits:` section of corpus.yaml: the largest sizes that a record may have."""

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from store.config.section import PositiveInt, Section
from store.errors import RecordError


class Limits(Section):
    """Upper bounds of one record's parts; what passes one is rejected, never read or decoded.

    Sizes are bytes as delivered, `image_pixels` is width times height before decoding, and
    `audio_seconds` is the playing time.
    """

    image_bytes: PositiveInt = 64 << 20
    image_pixels: PositiveInt = 100_000_000
    audio_bytes: PositiveInt = 256 << 20
    audio_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0
    text_bytes: PositiveInt = 1 << 20
    meta_bytes: PositiveInt = 1 << 20


Role = Literal["image", "audio", "text", "meta"]


def check_size(role: Role, size: int, limits: Limits) -> None:
    """Raises RecordError, as a rejection, where a part has more bytes than its limit."""
    limit = getattr(limits, f"{role}_bytes")
    if size > limit:
        raise RecordError(
            f"{role}.bytes", f"{size} bytes, at most {limit} are read", value=size, threshold=limit
        )
