"""Read and count the records of a unit, whatever its format."""

from collections.abc import Iterator
from typing import Any

from pipelines.sources import folder, img2dataset, jsonl, lance_dataset, parquet, webdataset
from pipelines.sources.documents import reader as documents
from pipelines.sources.records import BadRecord, Record, Unit
from pipelines.sources.videos import reader as videos
from store.config.limits import Limits

# Each reader is a module with count(unit) and read(unit, limits).
_READERS: dict[str, Any] = {
    "webdataset": webdataset,
    "folder": folder,
    "parquet": parquet,
    "jsonl": jsonl,
    "lance": lance_dataset,
    "fetched": img2dataset,
    "pdf": documents,
    "video": videos,
}


def count_records(unit: Unit) -> int:
    """Count the records of a unit, from headers, footers or its list of files where possible."""
    return _READERS[unit.format].count(unit)


def read_unit(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit, one after another. A bad record never costs another one."""
    return _READERS[unit.format].read(unit, limits)
