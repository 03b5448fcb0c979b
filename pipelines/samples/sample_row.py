"""One record as a row of the `samples` table."""

from embedders.media import audio, image, text
from pipelines.sources.records import Record
from store import identity
from store.config.limits import Limits
from store.errors import RecordError


def sample_row(record: Record, limits: Limits) -> dict:
    """Decode a record's parts, check them, and make the row: every column of `samples` but `drop`.

    The text is that of the record's text file or column, else the caption in its metadata, else
    its `name_text`. Columns of a part that the record does not have are left out or None.

    Raises:
        RecordError: a part is broken or over a limit, or the record has no image, audio or text.
    """
    meta, caption = (None, None) if record.meta is None else text.read_meta(record.meta, limits)
    own_text = None if record.text is None else text.read_text(record.text, limits)
    words = own_text or caption or record.name_text
    row: dict = {"source": record.source, "key": record.key, "text": words, "meta": meta}
    row["text_id"] = identity.part_id("text", words.encode()) if words else None
    row["image_id"] = row["audio_id"] = None
    if record.image is not None:
        image_info = image.read_image(record.image, limits)
        row |= {
            "image": record.image,
            "image_id": identity.part_id("image", record.image),
            "image_bytes": len(record.image),
            "image_format": image_info.format,
            "image_width": image_info.width,
            "image_height": image_info.height,
        }
    if record.audio is not None:
        audio_info = audio.read_audio(record.audio, limits)
        row |= {
            "audio": record.audio,
            "audio_id": identity.part_id("audio", record.audio),
            "audio_bytes": len(record.audio),
            "audio_format": audio_info.format,
            "audio_seconds": audio_info.seconds,
            "audio_rate": audio_info.sample_rate,
            "audio_channels": audio_info.channels,
        }
    parts = (row["image_id"], row["audio_id"], row["text_id"])
    if not any(parts):
        raise RecordError("record.empty", "it has no image, no audio and no text")
    return row | {"id": identity.sample_id(*parts)}
