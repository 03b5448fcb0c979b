"""A unit of work that takes its process down."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from store.stage import Entry, UnitOutcome

ROW = pa.schema([pa.field("id", pa.string())])


class Deadly:
    """Its rows come; number 3 kills its process the first time, when they are half staged."""

    def __init__(self, folder: Path, unit: int):
        self.folder, self.unit = folder, unit

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": [f"{self.unit}"]}, schema=ROW)
        tried = self.folder / f"{self.unit}"
        if self.unit == 3 and not tried.exists():
            tried.touch()
            os._exit(1)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(1, 1, [Entry("s", f"{self.unit}", "rule")] if self.unit == 1 else [])
