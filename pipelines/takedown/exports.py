"""Removes shards of exports that hold a sample which is taken down.

The rest of an export stays, but its `isotrope.json` says that it is no longer complete, and
`isotrope export` writes it anew. An unfinished export is removed as a whole.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from pipelines.export import lance_dataset, registry
from pipelines.export import target_folder as target
from pipelines.export.webdataset import ORIGIN_KEY
from store.errors import NotFoundError, StoreError
from store.tables.files import Files
from store.tables.lance_tables import Tables, one_of
from store.tables.stages import EVERY_DROP
from store.tables.staging import stage_lock


def take_out(tables: Tables, ids: frozenset[str], mark: str, wait: float) -> dict[str, int | None]:
    """Remove the shards that hold a sample, from all registered exports.

    Args:
        tables: of the corpus.
        ids: of the samples.
        mark: identifies the takedown, so that one that is repeated gives the same result.
        wait: how long to wait for an export that is being written, in seconds.

    Returns:
        How many shards were removed, by folder. None: the folder cannot be reached.
    """
    removed: dict[str, int | None] = {}
    for files in registry.folders(tables):
        try:
            count = _take_out(files, ids, mark, wait)
        except StoreError:
            removed[files.root] = None
        else:
            removed |= {files.root: count} if count else {}
    return removed


def _take_out(files: Files, ids: frozenset[str], mark: str, wait: float) -> int:
    if target.is_unfinished(files):
        state = Tables(f"{files.root}/{target.STATE}", files.options)
        with state.lock(stage_lock("export", EVERY_DROP), timeout=wait):
            is_unfinished = target.read_summary(files) is None
        if is_unfinished:
            target.remove_export(files)
            return 1
        target.remove_state(files)
    if (summary := target.read_summary(files)) is None:
        return 0
    if summary["format"] == "lance":
        gone = [shard["name"] for shard in summary["shards"]] if _lance_holds(files, ids) else []
    else:
        names = [shard["name"] for shard in summary["shards"]]
        gone = [name for name in names if _shard_holds(files, name, ids)]
    earlier = summary.get(target.TAKEN_DOWN, {})
    if gone:
        if summary["format"] == "lance":
            files.delete_folder(lance_dataset.NAME)
        files.delete(gone)
        left = [shard for shard in summary["shards"] if shard["name"] not in gone]
        taken_down = earlier | {mark: earlier.get(mark, 0) + len(gone)}
        summary |= {"shards": left, "samples": sum(shard["samples"] for shard in left)}
        target.write_summary(files, summary | {"drops": None, target.TAKEN_DOWN: taken_down})
        return taken_down[mark]
    return earlier.get(mark, 0)


def _lance_holds(files: Files, ids: frozenset[str]) -> bool:
    """Whether the dataset has one of the samples, or was deleted by an interrupted takedown."""
    try:
        dataset = Tables(files.root, files.options).open(
            lance_dataset.NAME.removesuffix(".lance"), any_format=True
        )
    except NotFoundError:
        return True
    return dataset.count_rows(filter=one_of("id", sorted(ids))) > 0


def _shard_holds(files: Files, name: str, ids: frozenset[str]) -> bool:
    """Whether a shard has one of the samples, or cannot be read, or is gone already."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "shard")
        try:
            if files.is_local:
                path = Path(files.root, name)
            else:
                files.download(name, path)
            exported = _ids_of_parquet(path) if name.endswith(".parquet") else _ids_of_tar(path)
            return any(each in ids for each in exported)
        except (NotFoundError, OSError, ValueError, tarfile.TarError, KeyError, TypeError):
            return True


def _ids_of_parquet(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id"]):
            yield from batch["id"].to_pylist()


def _ids_of_tar(path: Path) -> Iterator[str]:
    with tarfile.open(path, "r:") as shard:
        for member in shard:
            if member.name.endswith(".json") and (file := shard.extractfile(member)) is not None:
                yield json.loads(file.read())[ORIGIN_KEY]["id"]
