"""What a source delivers: its drops, and the files of each."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import join
from typing import Literal

from pipelines.sources import file_kinds
from pipelines.sources.filesystem import Facts, FileSystem, Name, file_system
from pipelines.sources.folder import extension_of
from pipelines.sources.records import printable, role_of
from store.config.sources import DEFAULT_COLUMNS, Columns
from store.errors import SourceError

DropBy = Literal["entry", "source"]

EXPECTED = (
    "it takes sub-folders with files, tar shards ("
    + " ".join(file_kinds.TAR_SUFFIXES)
    + "), manifests "
    "(.parquet .jsonl .lance) or loose image, audio and text files"
)
_EVERYTHING = ("",)


@dataclass(frozen=True)
class Drop:
    """One delivery. `entries` are the files and folders of `root` that belong to it, all that
    lies beneath them included; hidden ones never do. `columns` are those of its manifests;
    `source` is the name, in corpus.yaml, of what delivers it."""

    name: str
    root: str
    entries: tuple[str, ...] = _EVERYTHING
    columns: Columns = DEFAULT_COLUMNS
    source: str = ""


def find_drops(
    name: str, path: str, drop_by: DropBy = "entry", columns: Columns | None = None
) -> dict[str, Drop]:
    """The drops that a source delivers, by name.

    By `entry`: each sub-folder that holds data is a drop named after the folder, each tar, manifest
    and Lance dataset one named after it (what img2dataset writes beside a tar or a folder belongs
    to that), and other loose files together one named after the source. By `source`: everything is
    one drop. A link is never followed out of its drop; a linked folder is a drop with one record,
    which fails and says so.

    Raises SourceError where the source is missing or empty, cannot be listed, or where two drops
    would have one name.
    """
    root = path.rstrip("/") if "://" in path else os.path.abspath(path)
    here = file_system(root)
    if not here.is_folder():
        raise SourceError(f"source {name!r}: {path} is not a folder; {EXPECTED}")
    if drop_by == "source":
        shares: list[tuple[str, str, tuple[str, ...]]] = [(name, root, _EVERYTHING)]
    else:
        shares = _by_entry(name, root, _names(name, here, root, ""))
    columns = columns or DEFAULT_COLUMNS
    drops = [Drop(_drop_name(n), r, entries, columns, name) for n, r, entries in shares]
    drops = [drop for drop in drops if _holds_data(drop)]
    if not drops:
        raise SourceError(f"source {name!r}: {path} holds nothing to read; {EXPECTED}")
    found: dict[str, Drop] = {}
    for drop in drops:
        if drop.name in found:
            raise SourceError(
                f"source {name!r}: two of its entries would be the drop {drop.name!r}; "
                "rename one, or take the source as one drop (drop_by: source)"
            )
        found[drop.name] = drop
    return found


def listing_hash(drop: Drop) -> str:
    """A hex hash of the paths, sizes and times of a drop's files, wherever its root lies.

    Raises SourceError where the drop cannot be listed.
    """
    digest, here = hashlib.sha256(), file_system(drop.root)
    for path in sorted(p for p, is_folder, _ in _walk(drop, here) if not is_folder):
        found = _facts(drop, here, path)
        digest.update(os.fsencode(path))
        digest.update(f"\0{found.size}\0{found.stamp}\n".encode())
    return digest.hexdigest()


def latest_change(drop: Drop) -> float:
    """When a file or folder of the drop last changed, in seconds since the epoch.

    Raises SourceError where the drop cannot be listed.
    """
    here = file_system(drop.root)
    changed = (
        _facts(drop, here, path).changed
        for path, is_folder, _ in _walk(drop, here)
        if not is_folder or "://" not in drop.root  # an object store's folders have no time
    )
    return max(changed, default=0.0)


def files(drop: Drop) -> Iterator[str]:
    """The paths of a drop's files, and of the links in it. Raises SourceError."""
    return (path for path, is_folder, _ in _walk(drop, file_system(drop.root)) if not is_folder)


def _by_entry(name: str, root: str, names: list[Name]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Names, roots and entries of the drops that a folder's entries are."""
    folders = {n.name for n in names if n.is_folder}
    tars = {file_kinds.stem_of(n.name) for n in names if file_kinds.is_tar(n.name)}
    tables = {file_kinds.stem_of(n.name) for n in names if file_kinds.is_manifest(n.name)}
    beside: dict[str, list[str]] = {}
    alone: list[Name] = []
    for entry in names:
        stem, stats = file_kinds.stem_of(entry.name), entry.name.removesuffix(file_kinds.STATS)
        if file_kinds.is_manifest(entry.name) and stem in tars | folders:
            beside.setdefault(stem, []).append(entry.name)
        elif stats != entry.name and stats in tars | tables:
            beside.setdefault(stats, []).append(entry.name)
        else:
            alone.append(entry)

    drops: list[tuple[str, str, tuple[str, ...]]] = []
    loose = []
    for entry in alone:
        stem = file_kinds.stem_of(entry.name)
        if entry.is_folder and not entry.is_link and stem == entry.name and stem not in beside:
            drops.append((stem, join(root, stem), _EVERYTHING))
        elif entry.is_folder or file_kinds.is_tar(entry.name) or file_kinds.is_manifest(entry.name):
            drops.append((stem, root, (entry.name, *beside.get(stem, ()))))
        else:
            loose.append(entry.name)
    return [*drops, (name, root, tuple(loose))] if loose else drops


def _drop_name(name: str) -> str:
    # A drop is a partition key of Dagster, which refuses some characters.
    return "".join("_" if c in '*"|,/\\' else c for c in printable(name)).strip() or "_"


def _holds_data(drop: Drop) -> bool:
    return any(
        is_link
        or file_kinds.is_tar(path)
        or file_kinds.is_manifest(path)
        or file_kinds.LANCE_SUFFIX + "/_versions/" in path
        or role_of(extension_of(path)) in ("image", "audio", "text")
        for path, is_folder, is_link in _walk(drop, file_system(drop.root))
        if not is_folder
    )


def _walk(drop: Drop, here: FileSystem) -> Iterator[tuple[str, bool, bool]]:
    """Paths relative to the root, whether each is a folder, and whether it is a link; links are
    not followed."""
    if drop.entries == _EVERYTHING:
        pending = [("", Name("", is_folder=True))]
    else:
        top = {n.name: n for n in _names(drop.name, here, drop.root, "")}
        pending = [(e, top.get(e, Name(e, is_folder=False))) for e in drop.entries]
    while pending:
        path, name = pending.pop()
        is_folder = name.is_folder and not name.is_link
        yield path, is_folder, name.is_link
        if is_folder:
            inside = _names(drop.name, here, drop.root, path)
            pending += [(join(path, n.name), n) for n in inside]


def _names(owner: str, here: FileSystem, root: str, folder: str) -> list[Name]:
    try:
        return here.names(folder)
    except OSError as error:
        said = error.strerror or error
        raise SourceError(f"{owner!r}: {join(root, folder)} cannot be listed: {said}") from error


def _facts(drop: Drop, here: FileSystem, path: str) -> Facts:
    try:
        return here.facts(path)
    except OSError as error:
        said = error.strerror or error
        raise SourceError(
            f"drop {drop.name!r}: {path} changed while it was listed: {said}"
        ) from error
