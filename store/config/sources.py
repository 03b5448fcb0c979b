"""The sections of corpus.yaml that say what is delivered, and how much of it may be broken."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from store.config.section import PositiveInt, Section


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Columns(Section):
    """What the columns of a manifest (Parquet, JSONL, Lance) are.

    Each is one column's name or several, of which the first that a row has something in is taken.
    `image` and `audio` hold bytes, paths or URLs, `text` words. `file` is looked at where there is
    neither: paths or URLs whose extension tells what they are, pictures where it tells nothing.
    `captions` names columns with captions in other languages, such as {de: caption_de}. Whatever
    else a row has becomes its `meta`.
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
    """How much of a drop may be broken before nothing of it is published.

    It is when more than the share `most` of its records failed, and at least `least` of them.
    Records that a limit rejects, and copies, are not failures; nor are addresses that img2dataset
    has failed to fetch, since they were never delivered.
    """

    most: Annotated[float, Field(ge=0, le=1)] = 0.5
    least: PositiveInt = 100


class Source(Section):
    """Where drops are delivered: a folder, or a place that fsspec knows (s3://bucket/prefix).

    `drop_by: entry` makes one drop of each folder, tar, manifest and Lance dataset directly under
    `path`; `drop_by: source` makes one drop of all of it. `errors` is this source's own budget.
    """

    path: str
    drop_by: Literal["entry", "source"] = "entry"
    columns: Columns = DEFAULT_COLUMNS
    errors: Errors | None = None
