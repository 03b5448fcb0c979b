"""A shard as a WebDataset tar: original bytes, and a JSON beside them that says where from.

The same samples give the same bytes: members have no time and no owner.
"""

import io
import json
import math
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.export.shard_rows import MEASURED, Job, compact, read
from pipelines.sources.read import count_records
from pipelines.sources.records import Unit

NAME = "samples-{:06d}.tar"
ABOUT = "isotrope"  # under which the JSON has what is not the sample's own
_EXTENSIONS = {"jpeg": "jpg", "tiff": "tif"}
_BOM = "\ufeff"


def write(job: Job, number: int, path: Path) -> None:
    """Write a shard; members of a sample are next to each other, and its JSON comes last."""
    signals = [n for kind in job.measured for n in MEASURED[kind]]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for rows, names in read(job, number):
            for row, name in zip(rows.to_pylist(), names, strict=True):
                for extension, data in _members(row, signals):
                    info = tarfile.TarInfo(f"{name}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def count(path: Path) -> int:
    """How many samples a shard holds, from its headers, as whoever reads it finds them."""
    return count_records(Unit("", path.name, "webdataset", str(path.parent), (path.name,)))


def _members(row: dict[str, Any], signals: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for part in ("image", "audio"):
        if row[part] is not None:
            found = row[f"{part}_format"]
            yield _EXTENSIONS.get(found, found), row[part]
    if (text := row["text"]) is not None:
        # Readers take a first byte order mark for none of the text: one of its own needs another.
        yield "txt", ((_BOM if text.startswith(_BOM) else "") + text).encode()
    yield "json", compact(_about(row, signals)).encode()


def _about(row: dict[str, Any], signals: Sequence[str]) -> dict[str, Any]:
    """A sample's own metadata as it is, and what we know of it under one name."""
    meta: dict[str, Any] = json.loads(row["meta"]) if row["meta"] else {}
    known: dict[str, Any] = {n: row[n] for n in ("drop", "source", "key", "id")}
    if ABOUT in meta:  # it has been exported before
        known["before"] = meta[ABOUT]
    if signals:
        known["signals"] = {n: row[n] for n in signals if _is_told(row[n])}
    return meta | {ABOUT: known}


def _is_told(value: Any) -> bool:
    return value is not None and (not isinstance(value, float) or math.isfinite(value))
