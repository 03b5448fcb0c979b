"""Writes the corpus.yaml of a new corpus, after counting what its source delivers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pipelines.sources import file_kinds
from pipelines.sources.drops import Drop, drop_files, find_drops
from pipelines.sources.read import count_records
from pipelines.sources.units import list_units
from store.config.corpus_yaml import FILE, parse
from store.config.sources import Documents, Videos
from store.errors import InputError, MissingPackageError, SourceError

_TEMPLATE = """\
# The configuration of an isotrope corpus. Only `sources` is required.

sources:
  {name}:
    path: {path}
    drop_by: {drop_by}       # entry: every folder or tar file is a drop; source: all is one drop
{options}
# Which samples are kept. After a change, `isotrope run` decides again; no model runs.
policy:
{policy}

space: local               # this space needs no model hub
spaces:
  local: {{preset: local}}

engine:
  ray: {{actors: 1, num_gpus: 0}}   # of `isotrope run`: processes with a model, on all cores
"""


_NAMED = "    captions: names        # words in names of files, where there is no other caption\n"
# Of what needs a package: the option, how it is read, which files, the line of corpus.yaml, and the
# line without the package.
_MEDIA: list[tuple[dict[str, Any], Callable[[str], bool], str, str]] = [
    (
        {"documents": Documents()},
        file_kinds.is_pdf,
        "    documents: {}          # pages and figures of PDF files are samples\n",
        "    # documents: {}        # to read PDF files: pip install 'isotrope[documents]'\n",
    ),
    (
        {"videos": Videos()},
        file_kinds.is_video,
        "    videos: {}             # a frame every 2 seconds is a sample, with its sound\n",
        "    # videos: {}           # to read videos: pip install 'isotrope[video-gpl]'\n",
    ),
]
_RULES = """\
  image_min_side: {min: 32}
  image_aspect: {max: 8}
  text_chars: {max: 2000}"""


def create(
    folder: Path,
    source: str,
    preset: str | None = None,
    drop_by: Literal["entry", "source"] | None = None,
    captions: Literal["files", "names"] = "files",
) -> dict[Drop, int]:
    """Write `folder`/corpus.yaml for a source.

    Args:
        folder: of the corpus; it is created.
        source: a folder, or an address such as s3://bucket/folder.
        preset: a published policy; without one, the policy has a few mild rules.
        drop_by: what is a drop. None: chosen by what the source contains.
        captions: whether names of files are captions.

    Returns:
        The number of records that the source delivers, by drop.

    Raises:
        SourceError: the source is missing, empty or of an unknown format; nothing is written.
        InputError: there is a corpus.yaml already.
        ConfigError: there is no such preset, or it was made for another space.
        MissingPackageError: there are only PDF files or videos, and what reads them is not
            installed.
    """
    target = folder / FILE
    if target.exists():
        raise InputError(f"{target} exists already: edit it, or choose another folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for the new corpus")
    is_remote = "://" in source
    root = source.rstrip("/") if is_remote else str(Path(source).expanduser().resolve())
    if not is_remote and not os.path.isdir(root):
        raise SourceError(f"{source} is not a folder: --from expects the folder with your data")
    name = _source_name(root)
    media, options = _media(name, root)
    if drop_by is None:
        drop_by = "source" if _is_one_drop(name, root, media) else "entry"
    drops = find_drops(name, root, drop_by, name_captions=captions == "names", **media).values()
    counts = {drop: sum(count_records(unit) for unit in list_units(drop)) for drop in drops}
    policy = _RULES if preset is None else f"  preset: {json.dumps(preset)}"
    path = _quoted(root) if is_remote else _quoted(_path_from(folder, Path(root)))
    options += _NAMED if captions == "names" else ""
    text = _TEMPLATE.format(name=name, path=path, drop_by=drop_by, options=options, policy=policy)
    parse(text)
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return counts


def _media(name: str, root: str) -> tuple[dict[str, Any], str]:
    """How the PDF files and videos of a source are read, and the lines of corpus.yaml that say so.

    Returns:
        Arguments of `find_drops`, and the lines.

    Raises:
        MissingPackageError: there is nothing else, and the package that reads them is not
            installed.
    """
    paths = list(drop_files(Drop(name, root)))
    options: dict[str, Any] = {}
    lines = ""
    for option, is_one, line, instead in _MEDIA:
        if not any(map(is_one, paths)):
            continue
        try:
            find_drops(name, root, **option)
        except MissingPackageError as missing:
            try:
                find_drops(name, root)
            except SourceError:
                raise missing from None
            lines += instead
        else:
            options |= option
            lines += line
    return options, lines


def _is_one_drop(name: str, root: str, media: dict[str, Any]) -> bool:
    """Whether the folders of a source belong together, instead of being deliveries.

    If there are files beside the folders, the folders are categories. If there is a manifest
    beside them, it may name files in them.
    """
    drops = find_drops(name, root, **media)
    has_manifest = any(file_kinds.is_manifest(drop.entries[0]) for drop in drops.values())
    return name in drops or (has_manifest and any(d.entries == ("",) for d in drops.values()))


def _source_name(root: str) -> str:
    """The last part of the path, with letters that are safe as a key of corpus.yaml."""
    last = root.rpartition("/")[2]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in last)
    return safe.strip("-") or "source"


def _path_from(folder: Path, root: Path) -> str:
    """Relative if the source is inside the corpus's folder, so that both can be moved together."""
    corpus = folder.expanduser().resolve()
    return os.path.relpath(root, corpus) if root.is_relative_to(corpus) else str(root)


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
