"""The folder that an export is written to: what may be in it, and its `isotrope.json`."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from store.errors import InputError
from store.workspace import Workspace

ABOUT = "isotrope.json"
STATE = ".export"  # of an export that is not finished; hidden, so that nobody reads it as data
_OURS = ("samples-*.tar", "samples.parquet", "samples.lance")


def ready(workspace: Workspace, folder: Path, key: str, overwrite: bool) -> bool:
    """Make the folder ready to be written to, or to be gone on with. True where it holds the whole
    export of this key.

    Raises InputError where it holds anything else, or is part of one of the corpus's sources.
    """
    _outside_of_sources(workspace, folder)
    folder.mkdir(parents=True, exist_ok=True)
    told, begun = finished(folder), _begun(folder)
    known = told["key"] if told else begun
    if known == key:
        if told:
            _check_files(folder, told)
            clear(folder)
        return bool(told)
    if known is not None and not overwrite:
        raise InputError(
            f"{folder} holds an export of other decisions, or by other options: name another"
            " folder, or say --overwrite"
        )
    if known is not None:
        _remove(folder)
    if strange := sorted(p.name for p in folder.iterdir()):
        raise InputError(
            f"{folder} is not empty and is no export: {strange[0]!r} is in it; name a new folder"
        )
    part = folder / STATE / "key.part"
    part.parent.mkdir()
    _write(part, key)
    os.replace(part, part.with_suffix(""))
    return False


def finish(folder: Path, told: dict[str, Any]) -> None:
    """Say what the folder holds: the last word, after which the export counts as whole."""
    text = json.dumps(told, indent=2, ensure_ascii=False, sort_keys=True)
    part = folder / STATE / ABOUT
    _write(part, text + "\n")
    os.replace(part, folder / ABOUT)


def finished(folder: Path) -> dict[str, Any] | None:
    """What `isotrope.json` says, or None where there is none, or none that an export wrote."""
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and {"key", "shards", "samples"} <= set(told) else None


def clear(folder: Path) -> None:
    """Remove the state of an export that is finished."""
    shutil.rmtree(folder / STATE, ignore_errors=True)


def sync(path: Path) -> int:
    """Wait until a file's bytes are on the disk; returns how many there are."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _begun(folder: Path) -> str | None:
    """The key of an export that was begun, if any."""
    key = folder / STATE / "key"
    if key.is_file():
        return key.read_text(encoding="utf-8")
    clear(folder)  # killed before it wrote that down, it had written nothing else
    return None


def _check_files(folder: Path, told: dict[str, Any]) -> None:
    for shard in told["shards"] if told.get("format") != "lance" else ():
        path = folder / shard["name"]
        if not (path.is_file() and path.stat().st_size == shard["bytes"]):
            raise InputError(
                f"{path} is not as {ABOUT} says it is ({shard['bytes']:,} bytes); write the export"
                " again by --overwrite"
            )


def _remove(folder: Path) -> None:
    (folder / ABOUT).unlink(missing_ok=True)
    for pattern in _OURS:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    clear(folder)


def _outside_of_sources(workspace: Workspace, folder: Path) -> None:
    for name, source in workspace.config.sources.items():
        if "://" in source.path:
            continue
        path = workspace.source_path(source)
        if folder.resolve().is_relative_to(path):
            raise InputError(
                f"{folder} is in the source {name!r} ({path}), which would read the export as"
                " drops: name a folder elsewhere"
            )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    sync(path)
