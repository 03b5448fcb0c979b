"""Samples, originals and thumbnails of an open release, by id.

Only what is in the release's galleries can be read: a rejected sample has no row there.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from store.errors import InputError, NotFoundError
from store.identity import check_id
from store.search.opened import OpenRelease
from store.tables.damage import detected
from store.tables.lance_tables import one_of, quote
from store.tables.schema import SAMPLES

_ORIGINALS = ("image", "audio", "text")
_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
}


class Original(NamedTuple):
    """A part as it was delivered, and its media type."""

    data: bytes
    media_type: str


def describe_sample(opened: OpenRelease, sample_id: str) -> dict[str, Any]:
    """Everything about a sample but its media: key, source, text, sizes, drop, metadata.

    Raises:
        InputError: this is not an id.
        NotFoundError: the release has no such sample.
    """
    check_sample(opened, sample_id)
    return _sample(opened, sample_id, [c for c in SAMPLES.names if c not in ("image", "audio")])


def sample_original(opened: OpenRelease, sample_id: str, modality: str) -> Original:
    """The image, audio or text of a sample, as it was delivered.

    Raises:
        InputError: this is not an id or a modality.
        NotFoundError: the release has no such sample, or the sample has no such part.
    """
    if modality not in _ORIGINALS:
        raise InputError(f"{modality!r} is not a part; allowed: {', '.join(_ORIGINALS)}")
    check_sample(opened, sample_id)
    return _original(opened, sample_id, modality)


def part_original(opened: OpenRelease, part_id: str, modality: str) -> Original:
    """The image or recording with a part id, as it was delivered.

    Raises:
        InputError: this is not an id.
        NotFoundError: the release has no such part.
    """
    row = _part(opened, part_id, modality, ["id"])
    return _original(opened, row["id"], modality)


def thumbnail(opened: OpenRelease, part_id: str) -> bytes:
    """The thumbnail of a part, a JPEG.

    Raises:
        InputError: this is not an id.
        NotFoundError: the release has no such part, or the part has no thumbnail.
    """
    data = _part(opened, part_id, "image", ["thumbnail"])["thumbnail"]
    if data is None:
        raise NotFoundError(f"the part {part_id} has no thumbnail")
    return data


def recordings(opened: OpenRelease, part_ids: Sequence[str], max_bytes: int) -> dict[str, Original]:
    """The recordings of parts of the release by part id, without those that are larger."""
    samples = opened.tables.open("samples")
    rows = samples.to_table(
        columns=["audio_id", "audio", "audio_format"],
        filter=f"{one_of('audio_id', part_ids)} AND audio_bytes <= {max_bytes}",
    )
    return {
        row["audio_id"]: Original(row["audio"], _media_type(row["audio_format"]))
        for row in rows.to_pylist()
    }


def _part(opened: OpenRelease, part_id: str, modality: str, columns: list[str]) -> dict[str, Any]:
    check_id(part_id)
    if modality in opened.release.modalities:
        gallery = opened.gallery_dataset(modality)
        rows = gallery.to_table(columns=columns, filter=f"part_id = {quote(part_id)}", limit=1)
        if rows.num_rows:
            return rows.to_pylist()[0]
    number = opened.release.number
    raise NotFoundError(f"release {number} has no {modality} with the part id {part_id}")


def check_sample(opened: OpenRelease, sample_id: str) -> None:
    """Raise NotFoundError if no gallery of the release has a part of the sample."""
    check_id(sample_id)
    if unknown_samples(opened, [sample_id]):
        raise NotFoundError(f"release {opened.release.number} has no sample {sample_id}")


def unknown_samples(opened: OpenRelease, sample_ids: Sequence[str]) -> list[str]:
    """Those of the samples of which no gallery of the release has a part."""
    unknown = dict.fromkeys(sample_ids)
    # `id` is the first sample of a part and has an index; `sample_ids` are all, without one.
    for column, condition in (("id", one_of), ("sample_ids", _has_any)):
        for modality in opened.release.modalities:
            if not unknown:
                return []
            gallery = opened.gallery_dataset(modality)
            with detected(gallery.uri, gallery.version):
                rows = gallery.to_table(columns=[column], filter=condition(column, unknown))
            values = rows[column].combine_chunks()
            values = values.flatten() if column == "sample_ids" else values
            for sample_id in values.to_pylist():
                unknown.pop(sample_id, None)
    return list(unknown)


def _has_any(column: str, values: Iterable[str]) -> str:
    return f"array_has_any({column}, [{', '.join(map(quote, values))}])"


def deleted_sample(sample_id: str) -> NotFoundError:
    """The error for a sample that a release has and the table of samples has no more."""
    return NotFoundError(f"the sample {sample_id} was deleted after the release was made")


def _sample(opened: OpenRelease, sample_id: str, columns: list[str]) -> dict[str, Any]:
    samples = opened.tables.open("samples")
    present = [c for c in columns if c in samples.schema.names]
    rows: pa.Table = samples.to_table(columns=present, filter=one_of("id", [sample_id]), limit=1)
    if not rows.num_rows:
        raise deleted_sample(sample_id)
    return rows.to_pylist()[0]


def _original(opened: OpenRelease, sample_id: str, modality: str) -> Original:
    columns = [modality] if modality == "text" else [modality, f"{modality}_format"]
    row = _sample(opened, sample_id, columns)
    data = row[modality]
    if data is None:
        raise NotFoundError(f"the sample {sample_id} has no {modality}")
    if modality == "text":
        return Original(data.encode(), "text/plain; charset=utf-8")
    return Original(data, _media_type(row[f"{modality}_format"]))


def _media_type(file_format: str | None) -> str:
    return _TYPES.get(file_format or "", "application/octet-stream")
