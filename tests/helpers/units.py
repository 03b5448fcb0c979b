"""Units of work that kill their process."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedders.media import image
from pipelines.samples import stage as samples_stage
from pipelines.signals import stage as signals_stage
from store.tables.staging import Entry, UnitOutcome

POISON = b"takes its process down"

ROW = pa.schema([pa.field("id", pa.string())])


class Deadly:
    """Gives one row. Unit 3 kills its process the first time, while its rows are staged."""

    def __init__(self, folder: Path, unit: int):
        self.folder, self.unit = folder, unit

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": [f"{self.unit}"]}, schema=ROW)
        marker = self.folder / f"{self.unit}"
        if self.unit == 3 and not marker.exists():
            marker.touch()
            os._exit(1)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(1, 1, [Entry("s", f"{self.unit}", "rule")] if self.unit == 1 else [])


class Unrelenting(Deadly):
    """Unit 3 kills its process every time, and writes no crash markers."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self.unit == 3:
            os._exit(1)
        yield from super().__iter__()


def poisoned(data: bytes, *rest: Any) -> Any:
    """Decode an image, or die as a broken decoder does, without an exception."""
    if POISON in data:
        os.kill(os.getpid(), signal.SIGKILL)
    return _read_image(data, *rest)


_read_image = image.read_image


class PoisonedIngest(samples_stage.UnitWork):
    """Reads a unit with a decoder that dies at `POISON`."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        image.read_image = poisoned
        yield from super().__iter__()


class PoisonedSignals(signals_stage.UnitWork):
    """Measures a unit; the scorer `text_length` dies at texts with the word poison."""

    def __init__(self, plan: Any, unit: Any):
        super().__init__(plan, unit)
        self.scorers = tuple(
            replace(s, score=self._die(s.score)) if s.name == "text_length" else s
            for s in self.scorers
        )

    @staticmethod
    def _die(score: Any) -> Any:
        def scored(batch: pa.RecordBatch) -> Any:
            if any("poison" in (text or "") for text in batch["text"].to_pylist()):
                os._exit(1)
            return score(batch)

        return scored
