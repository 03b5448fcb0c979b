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
        errors: the error budget of this source's drops. Default: that of the corpus.
    """

    path: str
    drop_by: Literal["entry", "source"] = "entry"
    columns: Columns = DEFAULT_COLUMNS
    captions: Literal["files", "names"] = "files"
    errors: Errors | None = None
