"""Media as delivered: is it whole, how large is it, and how does it look in small.

Every reader takes undecoded bytes and Limits, checks sizes before it decodes, decodes the whole
so that truncation is found, and raises RecordError for whatever is wrong.
"""

from pipelines.media.audio import AudioInfo, read_audio
from pipelines.media.image import ImageInfo, read_image, thumbnail
from pipelines.media.text import read_meta, read_text

__all__ = [
    "AudioInfo",
    "ImageInfo",
    "read_audio",
    "read_image",
    "read_meta",
    "read_text",
    "thumbnail",
]
