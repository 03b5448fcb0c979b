"""The folder that an export is written to: checks of what is in it, and its `isotrope.json`."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from store.errors import InputError
from store.workspace import Workspace

SUMMARY = "isotrope.json"
STATE = ".export"  # the state of an unfinished export; hidden, so that no reader takes it for data
_EXPORTED = ("samples-*.tar", "samples.parquet", "samples.lance")


def prepare(workspace: Workspace, folder: Path, key: str, overwrite: bool) -> bool:
    """Prepare the folder for an export, or for the rest of an interrupted one.

    Args:
        workspace: the corpus.
        folder: the folder; it is created.
        key: the key of the export.
        overwrite: whether an export with another key is removed.

    Returns:
        Whether the folder already holds the complete export with this key.

    Raises:
        InputError: the folder holds anything else, or is inside one of the corpus's sources.
    """
    _check_outside_of_sources(workspace, folder)
    folder.mkdir(parents=True, exist_ok=True)
    summary = read_summary(folder)
    present = summary["key"] if summary else _unfinished_key(folder)
    if present == key:
        if summary:
            _check_files(folder, summary)
            remove_state(folder)
        return bool(summary)
    if present is not None and not overwrite:
        raise InputError(
            f"{folder} holds an export of other decisions or with other options: choose another"
            " folder, or add --overwrite"
        )
    if present is not None:
        _remove_export(folder)
    if others := sorted(p.name for p in folder.iterdir()):
        raise InputError(
            f"{folder} is not empty and holds no export, but {others[0]!r}: choose a new folder"
        )
    part = folder / STATE / "key.part"
    part.parent.mkdir()
    _write(part, key)
    os.replace(part, part.with_suffix(""))
    return False


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write `isotrope.json`. With it, the export is complete."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, sort_keys=True)
    part = folder / STATE / SUMMARY
    _write(part, text + "\n")
    os.replace(part, folder / SUMMARY)


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The content of `isotrope.json`. None where there is none, or where no export wrote it."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_summary = isinstance(summary, dict) and {"key", "shards", "samples"} <= set(summary)
    return summary if is_summary else None


def remove_state(folder: Path) -> None:
    """Remove the state of an unfinished export."""
    shutil.rmtree(folder / STATE, ignore_errors=True)


def sync_to_disk(path: Path) -> int:
    """Wait until a file's bytes are on the disk. Returns its size in bytes."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _unfinished_key(folder: Path) -> str | None:
    """The key of the unfinished export in the folder, or None."""
    key = folder / STATE / "key"
    if key.is_file():
        return key.read_text(encoding="utf-8")
    remove_state(folder)  # a run that was killed before it wrote its key wrote nothing else
    return None


def _check_files(folder: Path, summary: dict[str, Any]) -> None:
    for shard in summary["shards"] if summary.get("format") != "lance" else ():
        path = folder / shard["name"]
        if not (path.is_file() and path.stat().st_size == shard["bytes"]):
            raise InputError(
                f"{path} is missing or changed: {SUMMARY} says {shard['bytes']:,} bytes; write the"
                " export again with --overwrite"
            )


def _remove_export(folder: Path) -> None:
    (folder / SUMMARY).unlink(missing_ok=True)
    for pattern in _EXPORTED:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    remove_state(folder)


def _check_outside_of_sources(workspace: Workspace, folder: Path) -> None:
    for name, source in workspace.config.sources.items():
        if "://" in source.path:
            continue
        path = workspace.source_path(source)
        if folder.resolve().is_relative_to(path):
            raise InputError(
                f"{folder} is in the source {name!r} ({path}), so the export would be read as"
                " drops: choose a folder outside of it"
            )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    sync_to_disk(path)
