"""Writer of WebDataset shards: the original bytes, and a JSON with metadata and origin.

The same samples give the same bytes, since members have no time and no owner.
"""

import io
import json
import math
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.export.shard_rows import MEASURED, ShardJob, read_shard
from pipelines.sources.read import count_records
from pipelines.sources.records import Unit
from store import strict_json

NAME = "samples-{:06d}.tar"
ORIGIN_KEY = "isotrope"  # in the JSON: what isotrope adds to the sample's own metadata
_EXTENSIONS = {"jpeg": "jpg", "tiff": "tif"}
_BOM = "\ufeff"


def write(job: ShardJob, number: int, path: Path) -> None:
    """Write a shard. A sample's members are next to each other, and its JSON is the last one."""
    signals = [n for kind in job.measured for n in MEASURED[kind]]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for rows, names in read_shard(job, number):
            for row, name in zip(rows.to_pylist(), names, strict=True):
                for extension, data in _members(row, signals):
                    info = tarfile.TarInfo(f"{name}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def count(path: Path) -> int:
    """Count the samples of a shard by its headers, as isotrope's own reader counts them."""
    return count_records(Unit("", path.name, "webdataset", str(path.parent), (path.name,)))


def _members(row: dict[str, Any], signals: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for part in ("image", "audio"):
        if row[part] is not None:
            format = row[f"{part}_format"]
            yield _EXTENSIONS.get(format, format), row[part]
    if (text := row["text"]) is not None:
        # Readers drop one leading byte order mark. Add one where the text itself begins with it.
        yield "txt", ((_BOM if text.startswith(_BOM) else "") + text).encode()
    yield "json", strict_json.canonical_json(_metadata(row, signals), "meta.json").encode()


def _metadata(row: dict[str, Any], signals: Sequence[str]) -> dict[str, Any]:
    """A sample's own metadata, and under ORIGIN_KEY its origin and signals."""
    meta: dict[str, Any] = json.loads(row["meta"]) if row["meta"] else {}
    origin: dict[str, Any] = {n: row[n] for n in ("drop", "source", "key", "id")}
    if ORIGIN_KEY in meta:  # the sample comes from an earlier export
        origin["before"] = meta[ORIGIN_KEY]
    if signals:
        origin["signals"] = {n: row[n] for n in signals if _has_value(row[n])}
    return meta | {ORIGIN_KEY: origin}


def _has_value(value: Any) -> bool:
    return value is not None and (not isinstance(value, float) or math.isfinite(value))
