"""Raw input: which drops a source delivers, and the records in them, good and bad.

What is counted must be what is read: for every unit, `count_records` equals the number of items
that `read_unit` yields, however broken the input is. They share nothing but the way from one
header, line, or listed file to the next, and the counts that footers promise.
"""

from collections.abc import Iterator
from typing import Any

from pipelines.sources import fetched, folder, jsonl, lance_rows, parquet, webdataset
from pipelines.sources.drops import Drop, find_drops, latest_change, listing_hash
from pipelines.sources.records import BadRecord, Record, Unit
from pipelines.sources.units import list_units
from store.config import Limits

__all__ = [
    "BadRecord",
    "Drop",
    "Record",
    "Unit",
    "count_records",
    "find_drops",
    "latest_change",
    "list_units",
    "listing_hash",
    "read_unit",
]


_READERS: dict[str, Any] = {
    "webdataset": webdataset,
    "folder": folder,
    "parquet": parquet,
    "jsonl": jsonl,
    "lance": lance_rows,
    "fetched": fetched,
}


def count_records(unit: Unit) -> int:
    """How many input records a unit holds, from its headers or its listing alone."""
    return _READERS[unit.format].count(unit)


def read_unit(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """The records of a unit, streamed; a bad one is an item too and never costs its neighbours."""
    return _READERS[unit.format].read(unit, limits)
