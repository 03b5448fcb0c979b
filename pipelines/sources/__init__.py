"""Raw input: which drops a source delivers, and the records in them, good and bad.

What is counted must be what is read: for every unit, `count_records` equals the number of items
that `read_unit` yields, however broken the input is. They share nothing but the way from one
header, or one listed file, to the next.
"""

from collections.abc import Iterator

from pipelines.sources import folder, webdataset
from pipelines.sources.drops import Drop, find_drops, latest_change, list_units, listing_hash
from pipelines.sources.records import BadRecord, Record, Unit
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


def count_records(unit: Unit) -> int:
    """How many input records a unit holds, from its headers or its listing alone."""
    return (webdataset if unit.format == "webdataset" else folder).count(unit)


def read_unit(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """The records of a unit, streamed; a bad one is an item too and never costs its neighbours."""
    return (webdataset if unit.format == "webdataset" else folder).read(unit, limits)
