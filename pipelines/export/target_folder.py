"""The folder that an export is written to: checks of what is in it, and its `isotrope.json`.

It is a local folder, or one in an object store.
"""

import json
from pathlib import Path
from typing import Any

from store.errors import InputError, NotFoundError
from store.tables.files import Files
from store.workspace import Workspace

SUMMARY = "isotrope.json"
STATE = ".export"  # the state of an unfinished export; hidden, so that no reader takes it for data
TAKEN_DOWN = "taken_down"  # in isotrope.json: how many shards each takedown has removed
_KEY = f"{STATE}/key"
_FOLDERS = ("samples.parquet", "samples.lance")


def prepare(workspace: Workspace, target: Files, key: str, overwrite: bool) -> bool:
    """Prepare the folder for an export, or for the rest of an interrupted one.

    Args:
        workspace: the corpus.
        target: the folder; it is created.
        key: the key of the export.
        overwrite: whether an export with another key is removed. One from which a takedown has
            removed shards always is.

    Returns:
        Whether the folder already holds the complete export with this key.

    Raises:
        InputError: the folder holds anything else, or is inside one of the corpus's sources.
    """
    _check_outside_of_sources(workspace, target)
    summary = read_summary(target)
    present = summary["key"] if summary else _unfinished_key(target)
    if summary and TAKEN_DOWN in summary:
        present, overwrite = "", True
    if present == key:
        if summary:
            _check_files(target, summary)
            remove_state(target)
        return bool(summary)
    if present is not None and not overwrite:
        raise InputError(
            f"{target.root} holds an export of other decisions or with other options: choose"
            " another folder, or add --overwrite"
        )
    if present is not None:
        remove_export(target)
    if other := next(target.list(), None):
        raise InputError(
            f"{target.root} is not empty and holds no export, but {other.path!r}: choose a new"
            " folder"
        )
    target.write(_KEY, key.encode())
    return False


def write_summary(target: Files, summary: dict[str, Any]) -> None:
    """Write `isotrope.json`. With it, the export is complete."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, sort_keys=True)
    target.write(SUMMARY, f"{text}\n".encode())


def read_summary(target: Files) -> dict[str, Any] | None:
    """The content of `isotrope.json`. None where there is none, or where no export wrote it."""
    try:
        summary = json.loads(target.read(SUMMARY))
    except (NotFoundError, ValueError):
        return None
    is_summary = isinstance(summary, dict) and {"key", "shards", "samples"} <= set(summary)
    return summary if is_summary else None


def remove_state(target: Files) -> None:
    """Remove the state of an unfinished export."""
    target.delete_folder(STATE)


def is_unfinished(target: Files) -> bool:
    """Whether the folder has the state of an unfinished export."""
    return target.exists(_KEY)


def _unfinished_key(target: Files) -> str | None:
    """The key of the unfinished export in the folder, or None."""
    try:
        return target.read(_KEY).decode()
    except NotFoundError:
        remove_state(target)  # a run that was killed before it wrote its key wrote nothing else
        return None


def _check_files(target: Files, summary: dict[str, Any]) -> None:
    sizes = {file.path: file.size for file in target.list()}
    for shard in summary["shards"] if summary.get("format") != "lance" else ():
        if sizes.get(shard["name"]) != shard["bytes"]:
            raise InputError(
                f"{target.root}/{shard['name']} is missing or changed: {SUMMARY} says"
                f" {shard['bytes']:,} bytes; write the export again with --overwrite"
            )


def remove_export(target: Files) -> None:
    target.delete([SUMMARY])
    shards = (file.path for file in target.list() if "/" not in file.path)
    target.delete(path for path in shards if path.startswith("samples-") and path.endswith(".tar"))
    for folder in (*_FOLDERS, STATE):
        target.delete_folder(folder)


def _check_outside_of_sources(workspace: Workspace, target: Files) -> None:
    for name, source in workspace.config.sources.items():
        path = workspace.source_path(source)
        if "://" in path or not target.is_local:
            is_inside = f"{target.root}/".startswith(f"{path.rstrip('/')}/")
        else:
            is_inside = Path(target.root).resolve().is_relative_to(path)
        if is_inside:
            raise InputError(
                f"{target.root} is in the source {name!r} ({path}), so the export would be read as"
                " drops: choose a folder outside of it"
            )
