"""Read and count the records of a unit, whatever its format."""

from collections.abc import Iterator
from typing import Any

from pipelines.sources import folder, img2dataset, jsonl, lance_dataset, parquet, webdataset
from pipelines.sources.records import BadRecord, Record, Unit
from store.config.limits import Limits

_READERS: dict[str, Any] = {
    "webdataset": webdataset,
    "folder": folder,
    "parquet": parquet,
    "jsonl": jsonl,
    "lance": lance_dataset,
    "fetched": img2dataset,
}


def count_records(unit: Unit) -> int:
    """How many input records a unit holds, from its headers or its listing alone."""
    return _READERS[unit.format].count(unit)


def read_unit(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """The records of a unit, streamed; a bad one is an item too and never costs its neighbours."""
    return _READERS[unit.format].read(unit, limits)
