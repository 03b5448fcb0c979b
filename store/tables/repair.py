"""Brings a damaged table back to its newest sound version. Nothing is deleted.

A version is sound if all its rows can be read and no byte of its files differs from the checksums.
Manifests that cannot be read are moved to the folder `_damaged`, because Lance opens a table by its
newest one, and so are those of old versions that lack files. If no version is sound, the newest
that opens goes on without the damaged fragments. If none opens, the whole table is moved away.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import lance

from store.errors import IsotropeError
from store.tables import checksums, damage
from store.tables.check import check_sizes
from store.tables.lance_tables import Tables
from store.tables.lost_tables import check_not_lost
from store.tables.table_files import files_of_version, manifest_of, tagged_versions, version_of

DAMAGED = "_damaged"
_READ_ROWS = 1024
_HINT = "_versions/latest_version_hint.json"
Way = Literal["went back", "left out fragments", "moved away"]


@dataclass(frozen=True)
class Prognosis:
    """What can be done about a damaged table.

    Attributes:
        table: its name.
        problem: what is wrong.
        way: how it can be repaired.
        base: the version to go back to, or to leave fragments out of. 0: none can be opened.
        unreadable: versions whose manifests must be moved away.
        bad_fragments: ids of fragments of `base` to leave out.
    """

    table: str
    problem: str
    way: Way
    base: int = 0
    unreadable: tuple[int, ...] = ()
    bad_fragments: tuple[int, ...] = ()


def examine(tables: Tables, name: str, recorded: int, changed: Collection[str]) -> Prognosis | None:
    """Read a table as a whole; None if its newest version is sound.

    Args:
        tables: of the corpus.
        name: of the table.
        recorded: its newest version according to its checksums.
        changed: its files that differ from their checksums (`checksums.changed_files`).
    """
    newest, problem = _newest(tables, name, recorded)
    versions = _versions(tables, name)
    unreadable: list[int] = []
    opened = 0
    for version in versions:
        try:
            dataset = tables.open(name, version, any_format=True)
        except IsotropeError as error:
            problem = problem or str(error)
            unreadable.append(version)
            continue
        if not (wrong := _problem(tables, name, dataset, changed)):
            if version == newest:
                return None
            away = tuple(v for v in unreadable if v > version)
            return Prognosis(name, problem, "went back", version, away)
        problem, opened = problem or wrong, opened or version
    away = tuple(v for v in unreadable if v > opened)
    if not opened:
        return Prognosis(name, problem, "moved away")
    bad = _bad_fragments(tables, name, opened, changed)
    return Prognosis(name, problem, "left out fragments", opened, away, bad)


def mend(tables: Tables, prognosis: Prognosis) -> None:
    """Repair a table. The caller sees to it that no stage runs."""
    name = prognosis.table
    with tables.lock(name):
        if prognosis.way == "moved away":
            _move(tables, [f.path for f in tables.files.list(f"{name}.lance")])
            checksums.forget_deleted(tables, name)
            return
        folder = f"{name}.lance"
        _move(tables, [f"{folder}/{manifest_of(version)}" for version in prognosis.unreadable])
        # The numbers of versions that were lost are used again, so nothing may refer to them.
        tables.files.delete([f"{folder}/{_HINT}"])
        checksums.forget_deleted(tables, name)
        _delete_tags_of_lost_versions(tables, name)
        dataset = tables.open(name, prognosis.base, any_format=True)
        if tables.version(name) != prognosis.base:
            dataset.restore()
        if prognosis.bad_fragments:
            bad = list(prognosis.bad_fragments)
            lance.LanceDataset.commit(
                dataset.uri,
                lance.LanceOperation.Update(bad, updated_fragments=[], new_fragments=[]),
                read_version=tables.version(name),
                storage_options=tables.storage_options,
            )


def set_old_versions_aside(
    tables: Tables, name: str, changed: Collection[str], lost_tags: Collection[str]
) -> None:
    """Move away old versions that lack files or have changed ones, unless a tag names them.

    Args:
        tables: of the corpus.
        name: of the table.
        changed: as for `examine`.
        lost_tags: of releases whose record was lost. They keep no version that has changed files.
    """
    dataset = tables.open(name, any_format=True)
    for tag in lost_tags:
        if _has_files(tables, name, int(dataset.tags.get_version(tag)), changed):
            dataset.tags.delete(tag)
    needed = {dataset.version, *tagged_versions(dataset)}
    used = {manifest_of(version) for version in needed}
    unsound = set()
    for version in _versions(tables, name):
        try:
            old = tables.open(name, version, any_format=True)
            files = set(files_of_version(tables, name, old))
            if version not in needed:
                check_sizes(tables, name, old)
        except IsotropeError:
            unsound.add(manifest_of(version))
            continue
        if version in needed or files.isdisjoint(changed):
            used |= files
        else:
            unsound.add(manifest_of(version))
    away = (unsound | set(changed)) - used
    _move(tables, [f"{name}.lance/{path}" for path in sorted(away)])
    checksums.forget_deleted(tables, name)


def _has_files(tables: Tables, name: str, version: int, paths: Collection[str]) -> bool:
    """Whether a version has one of these files, or cannot be opened."""
    try:
        dataset = tables.open(name, version, any_format=True)
        return not set(paths).isdisjoint(files_of_version(tables, name, dataset))
    except IsotropeError:
        return True


def _versions(tables: Tables, name: str) -> list[int]:
    """The versions that have a manifest, newest first."""
    files = tables.files.list(f"{name}.lance/_versions")
    versions = (version_of(file.path.removeprefix(f"{name}.lance/")) for file in files)
    return sorted(filter(None, versions), reverse=True)


def _newest(tables: Tables, name: str, recorded: int) -> tuple[int | None, str]:
    """The newest version; None and the problem if it is lost or cannot be opened."""
    try:
        check_not_lost(tables, name, recorded)
        return tables.version(name), ""
    except IsotropeError as error:
        return None, str(error)


def _problem(
    tables: Tables, name: str, dataset: lance.LanceDataset, changed: Collection[str]
) -> str:
    """What is wrong with a version; empty if it is sound."""
    try:
        wrong = sorted(set(files_of_version(tables, name, dataset)) & set(changed))
        if wrong:
            return f"bytes of {wrong[0]} have changed"
        _read(dataset, None)
    except IsotropeError as error:
        return str(error)
    return ""


def _read(dataset: lance.LanceDataset, fragments: list[lance.LanceFragment] | None) -> None:
    with damage.detected(dataset.uri, dataset.version):
        scanner = dataset.scanner(fragments=fragments, batch_size=_READ_ROWS, batch_readahead=1)
        for batch in scanner.to_batches():
            batch.validate(full=True)


def _bad_fragments(
    tables: Tables, name: str, version: int, changed: Collection[str]
) -> tuple[int, ...]:
    dataset = tables.open(name, version, any_format=True)
    bad = []
    for fragment in dataset.get_fragments():
        paths = {f"data/{file.path}" for file in fragment.metadata.files}
        try:
            _read(dataset, [fragment])
        except IsotropeError:
            bad.append(fragment.fragment_id)
        else:
            if paths & set(changed):
                bad.append(fragment.fragment_id)
    return tuple(bad)


def _delete_tags_of_lost_versions(tables: Tables, name: str) -> None:
    versions = _versions(tables, name)
    tags = tables.open(name, any_format=True).tags
    for tag, about in tags.list().items():
        if int(about["version"]) not in versions:
            tags.delete(tag)


def _move(tables: Tables, paths: list[str]) -> None:
    """Move files to the folder of damaged ones. A file of the same name there is replaced."""
    for path in paths:
        tables.files.copy(path, f"{DAMAGED}/{path}")
    tables.files.delete(paths)
