"""How large one part of a record may be. What passes a limit is rejected, never read or decoded."""

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024


class Limits(BaseModel):
    """Upper bounds of one record's parts; all inclusive and positive.

    Sizes are bytes as delivered, `image_pixels` is width times height before decoding, and
    `audio_seconds` is the playing time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_bytes: int = Field(64 * MIB, gt=0)
    image_pixels: int = Field(100_000_000, gt=0)
    audio_bytes: int = Field(256 * MIB, gt=0)
    audio_seconds: float = Field(3600.0, gt=0, allow_inf_nan=False)
    text_bytes: int = Field(MIB, gt=0)
    meta_bytes: int = Field(MIB, gt=0)
