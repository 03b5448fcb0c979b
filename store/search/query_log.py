"""The query log: the vectors of what was asked, so that corrections can be fitted to them.

It is opt-in (corpus.yaml's `query_log:`), holds vectors and never a text or a picture, and keeps
them no longer than it was told to. Whoever reads or writes the table holds its lock, which is
what allows versions to be deleted for good.
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

from store.arrays import vector_column
from store.config import corrections
from store.errors import NotFoundError
from store.tables import schema
from store.tables.lance_tables import Tables

FLUSH_ROWS = 64
_FORGET_SECONDS = 3600.0
_MOST_FRAGMENTS = 50


def table_name(space: str) -> str:
    return f"query_log__{space}"


class LoggedQuery(NamedTuple):
    asked_at: datetime
    space: str
    fingerprint: str
    modality: str
    vector: np.ndarray


class QueryLog:
    """Logs the queries of one process: gathered, and written `FLUSH_ROWS` at a time and at exit.

    A process that is killed loses what it has not written. Searches go on where writing fails: a
    warning says so once, and the rows wait for the next attempt. Threads may share it.
    """

    def __init__(self, tables: Tables, settings: corrections.QueryLog):
        self.tables = tables
        self.settings = settings
        # What would be deleted again at once is not worth waiting for.
        self._waiting: deque[LoggedQuery] = deque(maxlen=settings.keep_rows)
        self._lock = threading.Lock()
        self._warned = False
        self._forgotten_at: datetime | None = None
        atexit.register(self.close)

    def add(
        self, space: str, fingerprints: Mapping[str, str], vectors: Mapping[str, np.ndarray]
    ) -> None:
        """Log a query: a row an input.

        Args:
            fingerprints: of the encoders, by modality.
            vectors: unit vectors (d,) float32 by modality.
        """
        now = datetime.now(UTC)
        with self._lock:
            for modality, vector in vectors.items():
                self._waiting.append(
                    LoggedQuery(now, space, fingerprints.get(modality, ""), modality, vector)
                )
            if len(self._waiting) >= FLUSH_ROWS:
                self._flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Write what waits; nothing is written at exit any more."""
        self.flush()
        atexit.unregister(self.close)

    def _flush(self) -> None:
        rows = list(self._waiting)
        if not rows:
            return
        try:
            for alike in {_kind(row) for row in rows}:
                _append(self.tables, alike[0], [row for row in rows if _kind(row) == alike])
        except Exception as error:  # whatever it is: a search is never lost to its log
            self._warn(error)
            return
        self._waiting.clear()
        try:
            self._forget({row.space for row in rows})
        except Exception as error:
            self._warn(error)

    def _forget(self, spaces: set[str]) -> None:
        now, last = datetime.now(UTC), self._forgotten_at
        if last is None or (now - last).total_seconds() > _FORGET_SECONDS:
            for space in spaces:
                forget(self.tables, space, self.settings)
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
    """The log's rows that may still be kept, after `since`, oldest first, as `schema.query_log`.

    No rows (of vectors without width) where nothing has been logged.
    """
    name = table_name(space)
    with tables.lock(name):
        try:
            dataset = tables.open(name)
        except NotFoundError:
            return schema.query_log(0).empty_table()
        oldest = _oldest(settings)
        after = oldest if since is None else max(oldest, since)
        rows = dataset.to_table(filter=pc.field("asked_at") > _scalar(after))
    return rows.sort_by("asked_at")


def count(tables: Tables, space: str, since: datetime) -> int:
    """How many rows were logged after `since`; no vector is read."""
    name = table_name(space)
    if not tables.exists(name):
        return 0
    with tables.lock(name):
        return int(tables.open(name).count_rows(pc.field("asked_at") > _scalar(since)))


def forget(tables: Tables, space: str, settings: corrections.QueryLog | None = None) -> int:
    """Delete the rows that may not be kept any longer, from the disk too; returns how many.

    Args:
        settings: None where logging was switched off: what is left goes by the defaults.
    """
    name = table_name(space)
    if not tables.exists(name):
        return 0
    settings = settings or corrections.QueryLog()
    with tables.lock(name):
        dataset = tables.open(name)
        before = dataset.count_rows()
        asked = dataset.to_table(columns=["asked_at"])["asked_at"]
        newest_to_go = _oldest(settings)
        if len(asked) > settings.keep_rows:
            order = pc.sort_indices(asked, sort_keys=[("", "descending")])
            newest_to_go = max(newest_to_go, asked[order[settings.keep_rows].as_py()].as_py())
        if pc.any(pc.less_equal(asked, _scalar(newest_to_go))).as_py():
            dataset.delete(pc.field("asked_at") <= _scalar(newest_to_go))
        after = dataset.count_rows()
        # Deleted rows stay in their files until these are written anew, and files stay for as
        # long as a version has them. The lock is held: no file is half written by another.
        if after < before or len(dataset.get_fragments()) > _MOST_FRAGMENTS:
            dataset.optimize.compact_files(
                materialize_deletions=True, materialize_deletions_threshold=0.0
            )
        dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
    return int(before - after)


def _kind(row: LoggedQuery) -> tuple[str, int]:
    """What the rows of one write share: a new release may have vectors of another width."""
    return row.space, len(row.vector)


def _append(tables: Tables, space: str, rows: list[LoggedQuery]) -> None:
    columns = schema.query_log(len(rows[0].vector))
    arrays: list[Any] = [
        pa.array([getattr(row, field.name) for row in rows], field.type)
        for field in list(columns)[:-1]
    ]
    vectors = vector_column(np.stack([row.vector for row in rows]).astype(np.float32, copy=False))
    batch = pa.RecordBatch.from_arrays([*arrays, vectors], schema=columns)
    tables.replace(table_name(space), columns, [batch], "false")


def _oldest(settings: corrections.QueryLog | None) -> datetime:
    days = (settings or corrections.QueryLog()).keep_days
    return datetime.now(UTC) - timedelta(days=days)


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", tz="UTC"))
