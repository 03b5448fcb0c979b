"""The query log: vectors of past queries, on which corrections can be fitted.

It is opt-in (corpus.yaml's `query_log:`). It stores vectors, never texts or images, and deletes
rows when their retention ends. Every reader and writer of the table holds its lock, so deleted
versions can be removed from the disk safely.
"""

import atexit
import threading
import warnings
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.arrow import vector_column
from store.config import corrections
from store.errors import NotFoundError
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import query_log_table

FLUSH_ROWS = 64
_FORGET_SECONDS = 3600.0
_MAX_FRAGMENTS = 50


class LoggedQuery(NamedTuple):
    """One row of the log. Fields are named after the columns."""

    asked_at: datetime
    space: str
    fingerprint: str
    modality: str
    vector: np.ndarray


class QueryLog:
    """Logs the queries of one process. Rows are buffered and written 64 at a time and at exit.

    A process that is killed loses its buffered rows. A failed write does not fail the search: one
    warning is issued, and the rows stay in the buffer for the next attempt. Thread-safe.

    Args:
        tables: of the corpus, in a local folder.
        settings: how long rows are kept.
    """

    def __init__(self, tables: Tables, settings: corrections.QueryLog):
        self.tables = tables
        self.settings = settings
        # More rows than `keep_rows` would be deleted right after they are written.
        self._buffer: deque[LoggedQuery] = deque(maxlen=settings.keep_rows)
        self._lock = threading.Lock()
        self._warned = False
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._forgotten_at: datetime | None = None
        atexit.register(self.close)

    def add(
        self, space: str, fingerprints: Mapping[str, str], vectors: Mapping[str, np.ndarray]
    ) -> None:
        """Log a query, one row for each input.

        Args:
            space: of the vectors.
            fingerprints: of the encoders, by modality.
            vectors: unit vectors (d,) float32 by modality.
        """
        with self._lock:
            # Queries of one microsecond get others, or they would be deleted together.
            now = self._newest = max(datetime.now(UTC), self._newest + timedelta(microseconds=1))
            for modality, vector in vectors.items():
                self._buffer.append(
                    LoggedQuery(now, space, fingerprints.get(modality, ""), modality, vector)
                )
            if len(self._buffer) >= FLUSH_ROWS:
                self._flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Write the buffered rows, and cancel the write at exit."""
        self.flush()
        atexit.unregister(self.close)

    def _flush(self) -> None:
        rows = list(self._buffer)
        if not rows:
            return
        try:
            for group in {_group(row) for row in rows}:
                _append(self.tables, group[0], [row for row in rows if _group(row) == group])
        except Exception as error:  # of any kind: a search must not fail because of its log
            self._warn(error)
            return
        self._buffer.clear()
        try:
            self._forget({row.space for row in rows})
        except Exception as error:
            self._warn(error)

    def _forget(self, spaces: set[str]) -> None:
        now, last = datetime.now(UTC), self._forgotten_at
        if last is None or (now - last).total_seconds() > _FORGET_SECONDS:
            for space in spaces:
                delete_expired(self.tables, space, self.settings)
            self._forgotten_at = now

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"queries are not being logged: {error}", stacklevel=2)


def read(
    tables: Tables,
    space: str,
    settings: corrections.QueryLog | None = None,
    since: datetime | None = None,
) -> pa.Table:
    """Read the rows whose retention has not ended, oldest first.

    Args:
        tables: of the corpus.
        space: of the vectors.
        settings: how long rows are kept. None: the defaults.
        since: read only rows that were logged later.

    Returns:
        A table as `schema.query_log`. Without a log: no rows, and vectors of width 0.
    """
    name = query_log_table(space)
    with tables.lock(name):
        try:
            dataset = tables.open(name)
        except NotFoundError:
            return schema.query_log(0).empty_table()
        cutoff = _cutoff(settings)
        after = cutoff if since is None else max(cutoff, since)
        rows = dataset.to_table(filter=pc.field("asked_at") > _timestamp(after))
    return rows.sort_by("asked_at")


def count(tables: Tables, space: str, since: datetime) -> int:
    """Count the rows that were logged after `since`. Reads no vectors."""
    name = query_log_table(space)
    if not tables.exists(name):
        return 0
    with tables.lock(name):
        return int(tables.open(name).count_rows(pc.field("asked_at") > _timestamp(since)))


def delete_expired(tables: Tables, space: str, settings: corrections.QueryLog | None = None) -> int:
    """Delete rows whose retention has ended, from the table and from the disk.

    Args:
        tables: of the corpus.
        space: of the vectors.
        settings: how long rows are kept. None (logging was switched off): the defaults.

    Returns:
        How many rows were deleted.
    """
    name = query_log_table(space)
    if not tables.exists(name):
        return 0
    settings = settings or corrections.QueryLog()
    with tables.lock(name):
        dataset = tables.open(name)
        before = dataset.count_rows()
        asked_at = dataset.to_table(columns=["asked_at"])["asked_at"]
        cutoff = _cutoff(settings)
        if len(asked_at) > settings.keep_rows:
            order = pc.sort_indices(asked_at, sort_keys=[("", "descending")])
            newest_excess = asked_at[order[settings.keep_rows].as_py()].as_py()
            cutoff = max(cutoff, newest_excess)
        if pc.any(pc.less_equal(asked_at, _timestamp(cutoff))).as_py():
            dataset.delete(pc.field("asked_at") <= _timestamp(cutoff))
        after = dataset.count_rows()
        # Deleted rows stay in their files until the files are rewritten, and files stay while a
        # version refers to them. `delete_unverified` is safe because the lock is held: no other
        # process has unfinished files here.
        if after < before or len(dataset.get_fragments()) > _MAX_FRAGMENTS:
            dataset.optimize.compact_files(
                materialize_deletions=True, materialize_deletions_threshold=0.0
            )
        dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
    return int(before - after)


def _group(row: LoggedQuery) -> tuple[str, int]:
    """Rows that can be written together: same table and vector width. A new release may have
    another width."""
    return row.space, len(row.vector)


def _append(tables: Tables, space: str, rows: list[LoggedQuery]) -> None:
    columns = schema.query_log(len(rows[0].vector))
    arrays: list[Any] = [
        pa.array([getattr(row, field.name) for row in rows], field.type)
        for field in list(columns)[:-1]
    ]
    vectors = vector_column(np.stack([row.vector for row in rows]).astype(np.float32, copy=False))
    batch = pa.RecordBatch.from_arrays([*arrays, vectors], schema=columns)
    tables.replace(query_log_table(space), columns, [batch], "false", other_width=True)


def _cutoff(settings: corrections.QueryLog | None) -> datetime:
    """Rows that are not newer than this have reached the end of their retention."""
    days = (settings or corrections.QueryLog()).keep_days
    return datetime.now(UTC) - timedelta(days=days)


def _timestamp(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", tz="UTC"))
