"""The units that a drop is read in: its tars, its manifests, and the files that are left."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from posixpath import dirname

from pipelines.sources import img2dataset, jsonl, lance_dataset, parquet
from pipelines.sources.drops import EXPECTED, Drop, files
from pipelines.sources.file_kinds import LANCE_SUFFIX, STATS, is_jsonl, is_parquet, is_tar, stem_of
from pipelines.sources.folder import group
from pipelines.sources.manifest_rows import RowReader
from pipelines.sources.records import Format, Unit, printable
from store.config.limits import Limits
from store.errors import RecordError, SourceError

SAMPLES_PER_UNIT = 512


def list_units(drop: Drop) -> list[Unit]:
    """The units of a drop: its tars, its manifests by their parts, then its loose files, 512
    samples at a time, less those that a manifest names.

    Raises SourceError where the drop holds no file or cannot be listed.
    """
    paths = sorted(files(drop))
    if not paths:
        raise SourceError(f"drop {drop.name!r}: {drop.root} holds no files; {EXPECTED}")
    datasets, paths = _datasets(paths)
    tars = [p for p in paths if is_tar(p)]
    tables = [p for p in paths if is_parquet(p)]
    lines = [p for p in paths if is_jsonl(p)]
    known = {stem_of(p) for p in (*tars, *tables)}
    media = set(paths).difference(tars, tables, lines)
    media -= {p for p in media if p.endswith(STATS) and p.removesuffix(STATS) in known}

    units = [_unit(drop, "webdataset", tar) for tar in tars]
    manifests: list[Unit] = []
    samples = _samples(tars, tables, media)
    for path in tables:
        described = samples.get(stem_of(path))
        if described and img2dataset.describes(drop.root, path):
            units.append(_unit(drop, "fetched", path, *described))
        else:
            manifests += _parts(drop, "parquet", path)
    for path in lines:
        manifests += _parts(drop, "jsonl", path)
    for path in datasets:
        manifests += _parts(drop, "lance", path)
    if media and manifests:
        media -= {path for unit in manifests for path in _named(unit)}
    loose = group(media)
    for start in range(0, len(loose), SAMPLES_PER_UNIT):
        chunk = loose[start : start + SAMPLES_PER_UNIT]
        name = f"files-{start // SAMPLES_PER_UNIT:06d}"
        paths_of = tuple(path for _, members in chunk for path in members)
        manifests.append(Unit(drop.name, name, "folder", drop.root, paths_of))
    return units + manifests


def _unit(drop: Drop, format: Format, *paths: str, part: str = "") -> Unit:
    name = printable(paths[0]) + part
    return Unit(drop.name, name, format, drop.root, paths, columns=drop.columns)


def _parts(drop: Drop, format: Format, path: str) -> Iterator[Unit]:
    """A manifest's units; one that cannot be looked into is one unit, which says so."""
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
        part = f":{span[0]:06d}" if span else ""
        yield replace(_unit(drop, format, path, part=part), span=span, version=version)


def _samples(
    tars: Iterable[str], tables: Iterable[str], media: Iterable[str]
) -> dict[str, list[str]]:
    """The tar, or the files of the folder, that has a Parquet file's name, by that name."""
    found = {stem_of(tar): [tar] for tar in tars}
    folders = {stem_of(table) for table in tables} - found.keys()
    for path in sorted(media):
        if (folder := dirname(path)) in folders:
            found.setdefault(folder, []).append(path)
    return found


def _named(unit: Unit) -> Iterator[str]:
    """The files that a manifest's rows name."""
    limits, wanted = Limits(), unit.columns
    reader = RowReader(unit, limits)
    try:
        if unit.format == "jsonl":
            rows = jsonl.rows(unit, limits)
        else:
            table = parquet if unit.format == "parquet" else lance_dataset
            rows = table.texts(unit, {*wanted.image, *wanted.audio, *wanted.file})
        for _, row in rows:
            yield from reader.named(row)
    except RecordError:  # the unit's own record says it
        return


def _datasets(paths: list[str]) -> tuple[list[str], list[str]]:
    """The Lance datasets among a drop's files, and the files that belong to none."""
    roots = set()
    for path in paths:
        head, found, _ = path.partition(LANCE_SUFFIX + "/_versions/")
        if found:
            roots.add(head + LANCE_SUFFIX)
    if not roots:
        return [], paths
    left = [p for p in paths if not any(f"{p}/".startswith(f"{r}/") for r in roots)]
    return sorted(roots), left
