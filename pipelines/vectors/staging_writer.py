"""Commits the results of the actor pool to staging, several units at a time, in a thread.

A commit costs the same for one row as for thousands, and each commit makes the next one a little
slower. So the time between commits grows with the age of the run: a killed run loses at most a
fiftieth of its time, or the last second.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from store.tables.staging import Entry, StageRun, UnitOutcome

# A commit is due after so many bytes, or after the larger of `_SECONDS` and 1 / `_SHARE` of the age
# of the run.
_BYTES = 32 << 20
_SECONDS = 1.0
_SHARE = 50


class StagingWriter:
    """Collects the rows of units and commits them; a context manager.

    All rows are committed at the end of the block, unless it raised. Memory holds the rows of at
    most two commits: one that is being written, and one that is being collected.

    Attributes:
        parts: how many parts were added, with and without a vector.
        kept: how many parts with a vector were added.
    """

    def __init__(self, run: StageRun):
        self.run = run
        self.parts = 0
        self.kept = 0
        self._thread = ThreadPoolExecutor(1, "commits")
        self._written: Future[None] | None = None
        self._started = time.monotonic()
        self._name, self._bytes, self._since = "", 0, self._started
        self._rows: list[pa.RecordBatch] = []
        self._entries: list[Entry] = []

    def __enter__(self) -> "StagingWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._commit()
                self._wait()
        finally:
            self._thread.shutdown()

    def add(self, name: str, rows: pa.RecordBatch, entries: list[Entry]) -> None:
        """Add a unit.

        Args:
            rows: its vectors, with the schema of the staging.
            entries: its parts that failed.
        """
        self._name = self._name or name  # a commit is named after its first unit
        self._rows += [rows] if rows.num_rows else []
        self._entries += entries
        self._bytes += rows.nbytes
        self.parts += rows.num_rows + len(entries)
        self.kept += rows.num_rows
        now = time.monotonic()
        interval = max(_SECONDS, (now - self._started) / _SHARE)
        if self._bytes >= _BYTES or now - self._since >= interval:
            self._commit()

    def _commit(self) -> None:
        self._wait()
        if self._name:
            kept = sum(batch.num_rows for batch in self._rows)
            outcome = UnitOutcome(kept + len(self._entries), kept, self._entries)
            self._written = self._thread.submit(
                self.run.append, self._name, self._rows, lambda: outcome
            )
        self._name, self._bytes, self._since = "", 0, time.monotonic()
        self._rows, self._entries = [], []

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()
