"""The drops that a source delivers, and the files of each drop."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from posixpath import join
from typing import Literal

from pipelines.sources import file_kinds
from pipelines.sources.filesystem import FileInfo, FileSystem, FolderEntry, file_system
from pipelines.sources.folder import extension_of
from pipelines.sources.records import printable, role_of
from store.config.sources import DEFAULT_COLUMNS, Columns, Documents, Videos
from store.errors import MissingPackageError, SourceError

DropBy = Literal["entry", "source"]

EXPECTED = (
    "expected sub-folders with files, tar shards ("
    + " ".join(file_kinds.TAR_SUFFIXES)
    + "), manifests "
    "(.parquet .jsonl .lance) or loose image, audio and text files"
)
_WHOLE_ROOT = ("",)


@dataclass(frozen=True)
class Drop:
    """One delivery: a set of files beneath one root.

    Attributes:
        name: unique in the corpus; the Dagster partition key.
        root: the folder (absolute path or URL) that the entries are relative to.
        entries: files and folders of `root` that belong to the drop, folders with everything
            beneath them except hidden files. The default is the whole root.
        columns: the columns of the drop's manifests.
        source: the name, in corpus.yaml, of the source that delivers the drop.
        name_captions: the names of loose files are captions where there are no others.
        documents: how its PDF files are read; None where they are not.
        videos: how its videos are read; None where they are not.
        listed: the entries as they were listed with the source; None to list `root` again.
    """

    name: str
    root: str
    entries: tuple[str, ...] = _WHOLE_ROOT
    columns: Columns = DEFAULT_COLUMNS
    source: str = ""
    name_captions: bool = False
    documents: Documents | None = None
    videos: Videos | None = None
    listed: tuple[FolderEntry, ...] | None = field(default=None, compare=False, repr=False)


def find_drops(
    name: str,
    path: str,
    drop_by: DropBy = "entry",
    columns: Columns | None = None,
    only: str | None = None,
    documents: Documents | None = None,
    videos: Videos | None = None,
    name_captions: bool = False,
) -> dict[str, Drop]:
    """The drops that a source delivers, by name.

    With `drop_by="entry"`, every entry of the source's folder is a drop:

    - each sub-folder that holds data, named after the folder;
    - each tar, manifest and Lance dataset, named after the file. A Parquet or statistics file
      that img2dataset wrote beside a tar or a folder belongs to that drop;
    - the other loose files together, named after the source.

    With `drop_by="source"`, the whole source is one drop. A link is never followed out of its
    drop. A linked folder is a drop with one record, which fails with `file.outside`.

    Args:
        name: the source's name in corpus.yaml.
        path: the source's folder: a local path or a URL.
        drop_by: what makes a drop.
        columns: the columns of its manifests; None takes the default names.
        only: the name of a drop. Others are left out, and their folders are not listed.
        documents: how PDF files are read; None does not read them.
        videos: how videos are read; None does not read them.
        name_captions: the names of loose files are captions where there are no others.

    Raises:
        SourceError: the source does not exist or cannot be listed, two drops would have the same
            name, or, without `only`, the source is empty.
        MissingPackageError: the package that reads its PDF files or videos is not installed.
    """
    _check_packages(name, documents, videos)
    root = path.rstrip("/") if "://" in path else os.path.abspath(path)
    fs = file_system(root)
    if not fs.is_folder():
        raise SourceError(f"source {name!r}: {path} is not a folder; {EXPECTED}")
    listing = {}
    if drop_by == "source":
        parts: list[tuple[str, str, tuple[str, ...]]] = [(name, root, _WHOLE_ROOT)]
    else:
        listing = {entry.name: entry for entry in _entries(name, fs, root, "")}
        parts = _split_by_entry(name, root, list(listing.values()))
    columns = columns or DEFAULT_COLUMNS
    drops = []
    for drop_name, folder, entries in parts:
        listed = None if entries == _WHOLE_ROOT else tuple(listing[e] for e in entries)
        drop = Drop(_drop_name(drop_name), folder, entries, columns, name, listed=listed)
        drops.append(replace(drop, documents=documents, videos=videos, name_captions=name_captions))
    drops = [d for d in drops if only in (None, d.name) and _holds_data(d)]
    if not drops and only is None:
        raise SourceError(f"source {name!r}: {path} holds no data; {EXPECTED}")
    by_name: dict[str, Drop] = {}
    for drop in drops:
        if drop.name in by_name:
            raise SourceError(
                f"source {name!r}: two of its entries would make a drop named {drop.name!r}; "
                "rename one of them, or make the source one drop (drop_by: source)"
            )
        by_name[drop.name] = drop
    return by_name


def _check_packages(name: str, documents: Documents | None, videos: Videos | None) -> None:
    for options, option, package, extra in (
        (documents, "documents", "pypdfium2", "documents"),
        (videos, "videos", "av", "video-gpl"),
    ):
        if options is not None and find_spec(package) is None:
            raise MissingPackageError(
                f"source {name!r} has `{option}:`, which needs the package {package}:"
                f" pip install 'isotrope[{extra}]'"
            )


def listing_hash(drop: Drop) -> str:
    """Hash the paths, sizes and times of a drop's files, as hex.

    The hash does not depend on the drop's root: a copy of the drop elsewhere with the same times
    has the same hash.

    Raises:
        SourceError: the drop cannot be listed.
    """
    digest, fs = hashlib.sha256(), file_system(drop.root)
    for path, is_folder, _ in _walk(drop, fs):
        if is_folder:
            continue
        info = _info(drop, fs, path)
        digest.update(os.fsencode(path))
        digest.update(f"\0{info.size}\0{info.stamp}\n".encode())
    return digest.hexdigest()


def drop_files(drop: Drop) -> Iterator[str]:
    """The paths of a drop's files and links, relative to its root.

    Raises:
        SourceError: the drop cannot be listed.
    """
    return (path for path, is_folder, _ in _walk(drop, file_system(drop.root)) if not is_folder)


def _split_by_entry(
    name: str, root: str, entries: list[FolderEntry]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, root and entries of each drop, where every entry of the source is a drop."""
    folders = {e.name for e in entries if e.is_folder}
    tars = {file_kinds.stem_of(e.name) for e in entries if file_kinds.is_tar(e.name)}
    manifests = {file_kinds.stem_of(e.name) for e in entries if file_kinds.is_manifest(e.name)}
    companions: dict[str, list[str]] = {}  # img2dataset's files by the stem of their tar or folder
    others: list[FolderEntry] = []
    for entry in entries:
        stem = file_kinds.stem_of(entry.name)
        stats_of = entry.name.removesuffix(file_kinds.STATS_SUFFIX)
        if file_kinds.is_manifest(entry.name) and stem in tars | folders:
            companions.setdefault(stem, []).append(entry.name)
        elif stats_of != entry.name and stats_of in tars | manifests:
            companions.setdefault(stats_of, []).append(entry.name)
        else:
            others.append(entry)

    drops: list[tuple[str, str, tuple[str, ...]]] = []
    loose = []
    for entry in others:
        stem = file_kinds.stem_of(entry.name)
        is_plain_folder = entry.is_folder and not entry.is_link and stem == entry.name
        if is_plain_folder and stem not in companions:
            drops.append((stem, join(root, stem), _WHOLE_ROOT))
        elif entry.is_folder or file_kinds.is_tar(entry.name) or file_kinds.is_manifest(entry.name):
            drops.append((stem, root, (entry.name, *companions.get(stem, ()))))
        else:
            loose.append(entry.name)
    return [*drops, (name, root, tuple(loose))] if loose else drops


def _drop_name(name: str) -> str:
    # A drop's name is a Dagster partition key, which must not hold some characters.
    return "".join("_" if c in '*"|,/\\' else c for c in printable(name)).strip() or "_"


def _holds_data(drop: Drop) -> bool:
    return any(
        is_link
        or file_kinds.is_tar(path)
        or file_kinds.is_manifest(path)
        or file_kinds.LANCE_SUFFIX + "/_versions/" in path
        or (drop.documents is not None and file_kinds.is_pdf(path))
        or (drop.videos is not None and file_kinds.is_video(path))
        or role_of(extension_of(path)) in ("image", "audio", "text")
        for path, is_folder, is_link in _walk(drop, file_system(drop.root))
        if not is_folder
    )


def _walk(drop: Drop, fs: FileSystem) -> Iterator[tuple[str, bool, bool]]:
    """Each file and folder of a drop as (path, is a folder, is a link). Links are not followed.

    The paths of files are in ascending order, and only one folder of each level is in memory.
    """
    if drop.entries == _WHOLE_ROOT:
        pending = [("", FolderEntry("", is_folder=True))]
    else:
        listed = drop.listed
        if listed is None:
            listed = tuple(_entries(drop.name, fs, drop.root, ""))
        top = {e.name: e for e in listed}
        pending = [(n, top.get(n, FolderEntry(n, is_folder=False))) for n in drop.entries]
        pending.sort(key=_order, reverse=True)
    while pending:
        path, entry = pending.pop()
        is_folder = _is_entered(entry)
        yield path, is_folder, entry.is_link
        if is_folder:
            inner = [(join(path, e.name), e) for e in _entries(drop.name, fs, drop.root, path)]
            pending += sorted(inner, key=_order, reverse=True)


def _is_entered(entry: FolderEntry) -> bool:
    return entry.is_folder and not entry.is_link


def _order(item: tuple[str, FolderEntry]) -> str:
    """Sorts a folder among files as the paths of its files do: a-b is before a/b."""
    path, entry = item
    return path + "/" if _is_entered(entry) else path


def _entries(owner: str, fs: FileSystem, root: str, folder: str) -> list[FolderEntry]:
    try:
        return fs.entries(folder)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"{owner!r}: {join(root, folder)} cannot be listed: {reason}") from error


def _info(drop: Drop, fs: FileSystem, path: str) -> FileInfo:
    try:
        return fs.info(path)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(
            f"drop {drop.name!r}: {path} changed while it was listed: {reason}"
        ) from error
