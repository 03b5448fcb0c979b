"""What a source delivers: its drops, and the units that each drop is read in."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import join
from typing import Literal

from pipelines.sources.folder import extension_of, group
from pipelines.sources.records import Unit, printable, role_of
from store.errors import SourceError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
SAMPLES_PER_UNIT = 512

DropBy = Literal["entry", "source"]

_EXPECTED = (
    "it takes sub-folders with files, tar shards (" + " ".join(TAR_SUFFIXES) + ") or loose "
    "image, audio and text files"
)
_EVERYTHING = ("",)


@dataclass(frozen=True)
class Drop:
    """One delivery. `entries` are the files and folders of `root` that belong to it, all that
    lies beneath them included; hidden ones never do."""

    name: str
    root: str
    entries: tuple[str, ...] = _EVERYTHING


def find_drops(name: str, path: str, drop_by: DropBy = "entry") -> dict[str, Drop]:
    """The drops that a source delivers, by name.

    By `entry`: each sub-folder that holds data is a drop named after the folder, each tar one
    named after the tar, and other loose files together one named after the source. By `source`:
    everything is one drop. A link is never followed out of its drop; a linked folder is a drop
    with one record, which fails and says so.

    Raises SourceError where the source is missing or empty, or where two drops would have one
    name.
    """
    root = os.path.abspath(path)
    if "://" in path or not os.path.isdir(root):
        raise SourceError(f"source {name!r}: {path} is not a folder; {_EXPECTED}")
    if drop_by == "source":
        drops = [Drop(_drop_name(name), root)]
    else:
        drops = _by_entry(name, root)
    drops = [drop for drop in drops if _holds_data(drop)]
    if not drops:
        raise SourceError(f"source {name!r}: {path} holds nothing to read; {_EXPECTED}")
    found: dict[str, Drop] = {}
    for drop in drops:
        if drop.name in found:
            raise SourceError(
                f"source {name!r}: two of its entries would be the drop {drop.name!r}; "
                "rename one, or take the source as one drop (drop_by: source)"
            )
        found[drop.name] = drop
    return found


def list_units(drop: Drop) -> list[Unit]:
    """The units of a drop, sorted: its tars, then its loose files, 512 samples at a time.

    Raises SourceError where the drop holds no file or cannot be listed.
    """
    paths = sorted(_files(drop))
    if not paths:
        raise SourceError(f"drop {drop.name!r}: {drop.root} holds no files; {_EXPECTED}")
    tars = [path for path in paths if _is_tar(path)]
    samples = group(path for path in paths if not _is_tar(path))
    units = [Unit(drop.name, printable(tar), "webdataset", drop.root, (tar,)) for tar in tars]
    for start in range(0, len(samples), SAMPLES_PER_UNIT):
        chunk = samples[start : start + SAMPLES_PER_UNIT]
        files = tuple(path for _, members in chunk for path in members)
        number = start // SAMPLES_PER_UNIT
        units.append(Unit(drop.name, f"files-{number:06d}", "folder", drop.root, files))
    return units


def listing_hash(drop: Drop) -> str:
    """A hex hash of the paths, sizes and times of a drop's files, wherever its root lies.

    Raises SourceError where the drop cannot be listed.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(drop)):
        found = _stat(drop, path)
        digest.update(os.fsencode(path))
        digest.update(f"\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def latest_change(drop: Drop) -> float:
    """When a file or folder of the drop last changed, in seconds since the epoch.

    Raises SourceError where the drop cannot be listed.
    """
    return max((_stat(drop, path).st_mtime for path, _ in _walk(drop)), default=0.0)


def _by_entry(name: str, root: str) -> list[Drop]:
    drops, loose = [], []
    for entry in _names(name, root):
        full = join(root, entry)
        if os.path.isdir(full) and not os.path.islink(full):
            drops.append(Drop(_drop_name(entry), full))
        elif os.path.isdir(full) or _is_tar(entry):
            drops.append(Drop(_drop_name(_without_tar_suffix(entry)), root, (entry,)))
        else:
            loose.append(entry)
    if loose:
        drops.append(Drop(_drop_name(name), root, tuple(loose)))
    return drops


def _drop_name(name: str) -> str:
    # A drop is a partition key of Dagster, which refuses some characters.
    return "".join("_" if c in '*"|,/\\' else c for c in printable(name)).strip() or "_"


def _is_tar(path: str) -> bool:
    return path.lower().endswith(TAR_SUFFIXES)


def _without_tar_suffix(path: str) -> str:
    suffix = next((s for s in TAR_SUFFIXES if path.lower().endswith(s)), "")
    return path[: len(path) - len(suffix)]


def _holds_data(drop: Drop) -> bool:
    return any(
        _is_tar(path)
        or role_of(extension_of(path)) in ("image", "audio", "text")
        or os.path.islink(join(drop.root, path))
        for path in _files(drop)
    )


def _files(drop: Drop) -> Iterator[str]:
    return (path for path, is_folder in _walk(drop) if not is_folder)


def _walk(drop: Drop) -> Iterator[tuple[str, bool]]:
    """Paths relative to the root, and whether each is a folder; links are not followed."""
    pending = list(drop.entries)
    while pending:
        path = pending.pop()
        full = join(drop.root, path)
        is_folder = not path or (os.path.isdir(full) and not os.path.islink(full))
        yield path, is_folder
        if is_folder:
            pending += [join(path, name) for name in _names(drop.name, full)]


def _names(owner: str, folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise SourceError(f"{owner!r}: {folder} cannot be listed: {error.strerror}") from error


def _stat(drop: Drop, path: str) -> os.stat_result:
    try:
        return os.lstat(join(drop.root, path))
    except OSError as error:
        raise SourceError(
            f"drop {drop.name!r}: {path} changed while it was listed: {error.strerror}"
        ) from error
