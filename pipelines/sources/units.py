"""The units that a drop is read in: its tars, parts of its manifests, and its loose files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from posixpath import dirname

from pipelines.sources import img2dataset, jsonl, lance_dataset, parquet
from pipelines.sources.drops import EXPECTED, Drop, drop_files
from pipelines.sources.file_kinds import (
    LANCE_SUFFIX,
    STATS_SUFFIX,
    is_jsonl,
    is_parquet,
    is_pdf,
    is_tar,
    is_video,
    stem_of,
)
from pipelines.sources.folder import group
from pipelines.sources.manifest_rows import RowReader
from pipelines.sources.planned_units import document_units, video_units
from pipelines.sources.records import Format, Unit, printable
from pipelines.sources.videos.side_files import beside
from store.config.limits import Limits
from store.errors import RecordError, SourceError

SAMPLES_PER_UNIT = 512


def list_units(drop: Drop) -> list[Unit]:
    """The units of a drop: each tar, each manifest in parts, then the loose files.

    Loose files make units of 512 samples. Files that a manifest names are not loose files.

    Raises:
        SourceError: the drop holds no files, or cannot be listed.
    """
    paths = sorted(drop_files(drop))
    if not paths:
        raise SourceError(f"drop {drop.name!r}: {drop.root} holds no files; {EXPECTED}")
    datasets, paths = _split_lance_datasets(paths)
    tars = [p for p in paths if is_tar(p)]
    tables = [p for p in paths if is_parquet(p)]
    lines = [p for p in paths if is_jsonl(p)]
    stems = {stem_of(p) for p in (*tars, *tables)}
    media = set(paths).difference(tars, tables, lines)
    media -= {
        p for p in media if p.endswith(STATS_SUFFIX) and p.removesuffix(STATS_SUFFIX) in stems
    }

    units = [_unit(drop, "webdataset", tar) for tar in tars]
    if drop.documents is not None:
        pdfs = [p for p in paths if is_pdf(p)]
        media -= set(pdfs)
        units += document_units(drop, pdfs)
    if drop.videos is not None:
        video_paths = [p for p in paths if is_video(p)]
        sides = beside(video_paths, media)
        media -= {*video_paths, *sides}
        units += video_units(drop, video_paths, sides)
    manifests: list[Unit] = []
    samples = _sample_files(tars, tables, media)
    for path in tables:
        described = samples.get(stem_of(path))
        if described and img2dataset.describes(drop.root, path):
            units.append(_unit(drop, "fetched", path, *described))
        else:
            manifests += _manifest_units(drop, "parquet", path)
    for path in lines:
        manifests += _manifest_units(drop, "jsonl", path)
    for path in datasets:
        manifests += _manifest_units(drop, "lance", path)
    if media and manifests:
        media -= {path for unit in manifests for path in _named_files(unit)}
    return [*units, *manifests, *_loose_file_units(drop, media)]


def _loose_file_units(drop: Drop, paths: Iterable[str]) -> Iterator[Unit]:
    samples = group(paths)
    for number, start in enumerate(range(0, len(samples), SAMPLES_PER_UNIT)):
        members = tuple(p for _, files in samples[start : start + SAMPLES_PER_UNIT] for p in files)
        unit = Unit(drop.name, f"files-{number:06d}", "folder", drop.root, members)
        yield replace(unit, name_captions=drop.name_captions)


def _unit(drop: Drop, format: Format, *paths: str, suffix: str = "") -> Unit:
    name = printable(paths[0]) + suffix
    return Unit(drop.name, name, format, drop.root, paths, columns=drop.columns)


def _manifest_units(drop: Drop, format: Format, path: str) -> Iterator[Unit]:
    """The units of a manifest. One that cannot be opened is one unit, whose reader reports it."""
    version = None
    spans: Sequence[tuple[int, int] | None]
    try:
        if format == "lance":
            version, spans = lance_dataset.spans(drop.root, path)
        else:
            spans = (parquet if format == "parquet" else jsonl).spans(drop.root, path)
    except RecordError:
        spans = [None]
    for span in spans:
        suffix = f":{span[0]:06d}" if span else ""
        yield replace(_unit(drop, format, path, suffix=suffix), span=span, version=version)


def _sample_files(
    tars: Iterable[str], tables: Iterable[str], media: Iterable[str]
) -> dict[str, list[str]]:
    """By stem: the tar with this stem, or else the files of the folder with a table's stem."""
    files = {stem_of(tar): [tar] for tar in tars}
    folders = {stem_of(table) for table in tables} - files.keys()
    for path in sorted(media):
        if (folder := dirname(path)) in folders:
            files.setdefault(folder, []).append(path)
    return files


def _named_files(unit: Unit) -> Iterator[str]:
    """The files that a manifest's rows name."""
    limits, columns = Limits(), unit.columns
    reader = RowReader(unit, limits)
    try:
        if unit.format == "jsonl":
            rows = jsonl.rows(unit, limits)
        else:
            table = parquet if unit.format == "parquet" else lance_dataset
            rows = table.texts(unit, {*columns.image, *columns.audio, *columns.file})
        for _, row in rows:
            yield from reader.named_paths(row)
    except RecordError:  # reported when the unit is read
        return


def _split_lance_datasets(paths: list[str]) -> tuple[list[str], list[str]]:
    """The folders of the Lance datasets among a drop's files, and the files outside of them."""
    roots = set()
    for path in paths:
        head, marker, _ = path.partition(LANCE_SUFFIX + "/_versions/")
        if marker:
            roots.add(head + LANCE_SUFFIX)
    if not roots:
        return [], paths
    others = [p for p in paths if not any(f"{p}/".startswith(f"{r}/") for r in roots)]
    return sorted(roots), others
