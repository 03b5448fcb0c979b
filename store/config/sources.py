"""The `sources:` and `errors:` sections of corpus.yaml."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from store.config.section import Names, PositiveInt, Section


def _pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


class Columns(Section):
    """The columns of a manifest (Parquet, JSONL, Lance).

    Each attribute is one column name or several. Of several, the first with a value in a row is
    used. All other columns of a row become its `meta`.

    Attributes:
        key: the key of the record.
        image: bytes, a path or a URL.
        audio: bytes, a path or a URL.
        text: the caption.
        file: paths or URLs, used if there is neither image nor audio. The extension decides what
            the file is; without a known extension it is an image.
        captions: columns with captions in other languages, such as {de: caption_de}.
    """

    key: Names = ("key", "__key__", "id", "uid", "sample_id")
    image: Names = (
        *("image", "jpg", "jpeg", "png", "webp", "image_bytes", "image_path", "image_file"),
        *("image_file_name", "image_url"),
    )
    audio: Names = (
        *("audio", "wav", "flac", "mp3", "ogg", "opus", "audio_bytes", "audio_path", "audio_file"),
        *("audio_file_name", "audio_url"),
    )
    text: Names = ("caption", "text", "txt", "CAPTION", "TEXT")
    file: Names = ("file_name", "path", "file_path", "filepath", "file", "url", "URL")
    captions: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)] = ()


DEFAULT_COLUMNS = Columns()


class Errors(Section):
    """The error budget of a drop. A drop that exceeds it is not published.

    Rejected records and repeated records are not failures. Neither are addresses that img2dataset
    could not fetch, because they were not delivered.

    Attributes:
        most: the drop exceeds the budget if more than this share of its records failed...
        least: ...and at least this many records failed.
    """

    most: Annotated[float, Field(ge=0, le=1)] = 0.5
    least: PositiveInt = 100


_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Documents(Section):
    """How PDF files are read: each page is a sample, and each figure with a caption.

    A document that exceeds `bytes`, and pages after the first `pages`, are rejected.

    Attributes:
        dpi: resolution of pages and figures, in pixels per inch.
        longest_side: of a picture, in pixels; the resolution is lower where it would be longer.
        figures: whether figures with captions are samples too.
        pages: of a document that are read.
        bytes: the largest document.
        page_seconds: processor time that one page may take.
        seconds: processor time that one document may take, to list its pages and again to read
            them. A tenth of the time on the clock counts if it is more.
    """

    dpi: Annotated[float, Field(ge=18, le=600)] = 144
    longest_side: Annotated[int, Field(ge=32, le=8192)] = 2048
    figures: bool = True
    pages: PositiveInt = 1000
    bytes: PositiveInt = 256 << 20
    page_seconds: _Seconds = 30
    seconds: _Seconds = 600


class Videos(Section):
    """How videos are read: the first frame of each span of time is a sample, with its sound.

    A video that exceeds `bytes` or `pixels`, and frames after the first `frames`, are rejected.

    Attributes:
        every: the length of a span, in seconds.
        frames: of a video that are read.
        longest_side: of a picture, in pixels; larger frames are made smaller.
        audio: whether samples have the sound of their span.
        pixels: width times height of the largest frame that is decoded.
        bytes: the largest video.
        frame_seconds: processor time that one frame may take, with those before it.
        seconds: processor time that one video may take, to list its frames and again to read
            them. A tenth of the time on the clock counts if it is more.
    """

    every: Annotated[float, Field(ge=0.05, le=600)] = 2.0
    frames: PositiveInt = 1000
    longest_side: Annotated[int, Field(ge=32, le=8192)] = 1024
    audio: bool = True
    pixels: PositiveInt = 40_000_000
    bytes: PositiveInt = 16 << 30
    frame_seconds: _Seconds = 60
    seconds: _Seconds = 3600


class Source(Section):
    """A folder to which drops are delivered.

    Attributes:
        path: a folder, or a URL that fsspec can open (s3://bucket/prefix). Relative paths start at
            the corpus's folder.
        drop_by: `entry` makes one drop of each folder, tar file, manifest and Lance dataset
            directly under `path`. `source` makes one drop of everything under `path`.
        columns: of manifests.
        captions: `names` makes captions of the words in the names of loose files, such as
            water-lily.jpg, where a record has no other caption. `files` does not.
        documents: how PDF files are read; without it they are not.
        videos: how videos are read; without it they are not.
        errors: the error budget of this source's drops. Default: that of the corpus.
    """

    path: str
    drop_by: Literal["entry", "source"] = "entry"
    columns: Columns = DEFAULT_COLUMNS
    captions: Literal["files", "names"] = "files"
    documents: Documents | None = None
    videos: Videos | None = None
    errors: Errors | None = None
