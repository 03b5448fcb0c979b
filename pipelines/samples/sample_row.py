"""One record as a row of the `samples` table."""

from embedders.media.audio import read_audio
from embedders.media.image import read_image
from embedders.media.text import read_meta, read_text
from pipelines.sources.records import Record
from store import identity
from store.config.limits import Limits
from store.errors import RecordError


def sample_row(record: Record, limits: Limits) -> dict:
    """Decode a record's parts, check them, and make the row: every column of `samples` but `drop`.

    The text is that of the record's text file or column, else the caption in its metadata. Columns
    of a part that the record does not have are left out or None.

    Raises:
        RecordError: a part is broken or over a limit, or the record has no image, audio or text.
    """
    meta, caption = (None, None) if record.meta is None else read_meta(record.meta, limits)
    text = None if record.text is None else read_text(record.text, limits)
    text = text or caption
    row: dict = {"source": record.source, "key": record.key, "text": text, "meta": meta}
    row["text_id"] = identity.part_id("text", text.encode()) if text else None
    row["image_id"] = row["audio_id"] = None
    if record.image is not None:
        image = read_image(record.image, limits)
        row |= {
            "image": record.image,
            "image_id": identity.part_id("image", record.image),
            "image_bytes": len(record.image),
            "image_format": image.format,
            "image_width": image.width,
            "image_height": image.height,
        }
    if record.audio is not None:
        audio = read_audio(record.audio, limits)
        row |= {
            "audio": record.audio,
            "audio_id": identity.part_id("audio", record.audio),
            "audio_bytes": len(record.audio),
            "audio_format": audio.format,
            "audio_seconds": audio.seconds,
            "audio_rate": audio.sample_rate,
            "audio_channels": audio.channels,
        }
    parts = (row["image_id"], row["audio_id"], row["text_id"])
    if not any(parts):
        raise RecordError("record.empty", "it has no image, no audio and no text")
    return row | {"id": identity.sample_id(*parts)}
