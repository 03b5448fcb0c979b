"""Commits what comes out of the actor pool to staging: several units at a time, while others run.

A commit costs the same for one row as for thousands, and each one makes the next a little slower.
So the longer a run has taken, the more it waits between them: what a killed run loses is a
fiftieth of its time, or the last second.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from store.tables.staging import Entry, StageRun, UnitOutcome

_BYTES = 32 << 20
_SECONDS = 1.0
_SHARE = 50


class StagingWriter:
    """Takes units' rows, for the length of a `with` block; all are committed when it ends well.

    At most two commits' rows are in memory: those that are written, and those that gather.
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
        """Take a unit: its rows, as the staging's schema has them, and who has none."""
        self._name = self._name or name  # the first lends the commit its name
        self._rows += [rows] if rows.num_rows else []
        self._entries += entries
        self._bytes += rows.nbytes
        self.parts += rows.num_rows + len(entries)
        self.kept += rows.num_rows
        now = time.monotonic()
        patience = max(_SECONDS, (now - self._started) / _SHARE)
        if self._bytes >= _BYTES or now - self._since >= patience:
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
