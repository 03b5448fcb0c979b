"""Backups of the tables, in a folder or an object store.

A backup is consistent: it has the version of every table at one moment between two commits of the
table `stages`, which every stage changes before and after it writes its own table. So it can be
made while a run goes on. Files that never change are copied once, to `data/`. Each backup has its
manifests and tags in `backups/NAME/`, and a catalogue `backups/NAME.json`, which is written last.

The query log is not copied, because its rows are deleted when their retention ends.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from store.errors import BusyError, InputError, NotFoundError
from store.tables import checksums, maintain, takedowns
from store.tables.files import Files
from store.tables.lance_tables import Tables
from store.tables.names import is_query_log
from store.tables.table_files import files_of_version, manifest_of, tagged_versions

BACKUPS, DATA = "backups", "data"
FOLDERS = (
    "projections",
    takedowns.FOLDER,
    "_exports",
)  # beside the tables; their files never change
_ATTEMPTS = 100


@dataclass(frozen=True)
class Catalogue:
    """What one backup consists of.

    Attributes:
        name: its UTC time, such as 20261128T150012.000000Z.
        versions: the newest version of each table.
        data: the sizes of the files in `data/`, by path.
        files: the files in `backups/NAME/`: manifests, tags and their checksums.
    """

    name: str
    versions: dict[str, int]
    data: dict[str, int]
    files: list[str]


@dataclass(frozen=True)
class BackedUp:
    """The result of a backup.

    Attributes:
        catalogue: of the backup.
        copied: how many files were copied. The others were there from earlier backups.
        bytes_copied: their sizes.
    """

    catalogue: Catalogue
    copied: int
    bytes_copied: int


def back_up(tables: Tables, target: Files, keep: int | None = None) -> BackedUp:
    """Make a backup. Maintenance and takedowns wait meanwhile; runs and searches do not.

    Args:
        tables: of the corpus.
        target: where backups are.
        keep: delete all but this many of the newest backups, and files that only they have.

    Raises:
        NotFoundError: there are no tables.
        BusyError: tables were committed too often to find a moment between commits.
        DamagedTableError: a table cannot be read.
    """
    takedowns.check_none_pending(tables)
    with tables.lock(maintain.LOCK):
        name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        versions, small, data = _snapshot(tables)
        if not versions:
            raise NotFoundError(f"no tables in {tables.root}; `isotrope run` makes them")
        folders = [*(f"{table}.lance" for table in versions), *FOLDERS]
        listed = {f.path: f.size for folder in folders for f in tables.files.list(folder)}
        sizes = {path: listed[path] for path in sorted(data)}
        present = {file.path: file.size for file in target.list(DATA)}
        new = [path for path in sizes if present.get(f"{DATA}/{path}") != sizes[path]]
        for path in new:
            copy_file(tables.files, path, target, f"{DATA}/{path}")
        for path, content in small.items():
            target.write(f"{BACKUPS}/{name}/{path}", content)
        catalogue = Catalogue(name, versions, sizes, sorted(small))
        target.write(f"{BACKUPS}/{name}.json", json.dumps(asdict(catalogue)).encode())
    if keep is not None:
        _delete_all_but(target, keep)
    return BackedUp(catalogue, len(new), sum(sizes[path] for path in new))


def list_backups(target: Files) -> list[str]:
    """The names of the complete backups, oldest first."""
    paths = (file.path.removeprefix(f"{BACKUPS}/") for file in target.list(BACKUPS))
    return sorted(p.removesuffix(".json") for p in paths if "/" not in p and p.endswith(".json"))


def read_catalogue(target: Files, name: str) -> Catalogue:
    """The catalogue of a backup.

    Raises:
        NotFoundError: there is no such backup.
    """
    return Catalogue(**json.loads(target.read(f"{BACKUPS}/{name}.json")))


def copy_file(source: Files, path: str, target: Files, target_path: str) -> None:
    """Copy a file between two folders or object stores. It is there as a whole or not at all."""
    if source.is_local:
        target.upload(Path(source.root, path), target_path)
        return
    with TemporaryDirectory() as folder:
        local = Path(folder, "file")
        source.download(path, local)
        target.upload(local, target_path)


def _snapshot(tables: Tables) -> tuple[dict[str, int], dict[str, bytes], set[str]]:
    """A moment of all tables.

    Returns:
        The versions of the tables; the small files that are copied with every backup, with their
        content; and the paths of all other files.

    Raises:
        BusyError: there was no such moment.
    """
    for _ in range(_ATTEMPTS):
        before = _version_of_stages(tables)
        versions: dict[str, int] = {}
        small: dict[str, bytes] = {}
        data: set[str] = set()
        try:
            for name in tables.names():
                if not is_query_log(name):
                    versions[name] = _add_table(tables, name, small, data)
        except NotFoundError:  # a tag or version was replaced meanwhile
            continue
        if _version_of_stages(tables) == before:
            data |= {file.path for folder in FOLDERS for file in tables.files.list(folder)}
            return versions, small, data - {takedowns.PLAN}
    raise BusyError("tables are committed all the time; try again when fewer stages run")


def _version_of_stages(tables: Tables) -> int | None:
    return tables.version("stages") if tables.exists("stages") else None


def _add_table(tables: Tables, name: str, small: dict[str, bytes], data: set[str]) -> int:
    """Add the files of the newest and of all tagged versions; return the newest version."""
    newest = tables.open(name, any_format=True)
    folder = f"{name}.lance"
    versions = [newest, *(tables.open(name, v, any_format=True) for v in tagged_versions(newest))]
    paths = {path for version in versions for path in files_of_version(tables, name, version)}
    manifests = {manifest_of(version.version) for version in versions}
    small |= {f"{folder}/{path}": tables.files.read(f"{folder}/{path}") for path in manifests}
    small |= {f.path: tables.files.read(f.path) for f in tables.files.list(f"{folder}/_refs")}
    data |= {f"{folder}/{path}" for path in paths - manifests}
    digests = {p: d for p, d in checksums.recorded(tables, name).items() if p in paths}
    record, content = checksums.as_record(name, digests)
    small[record] = content
    return int(newest.version)


def _delete_all_but(target: Files, keep: int) -> None:
    """Delete old backups, and the files that no other backup has."""
    if keep < 1:
        raise InputError(f"keep {keep} backups: at least one must be kept")
    names = list_backups(target)
    kept = [read_catalogue(target, name) for name in names[-keep:]]
    used = {f"{DATA}/{path}" for catalogue in kept for path in catalogue.data}
    for name in names[:-keep]:
        target.delete([f"{BACKUPS}/{name}.json"])
        target.delete_folder(f"{BACKUPS}/{name}")
    target.delete([file.path for file in target.list(DATA) if file.path not in used])
