"""Crash markers: which record a unit was working on when its process died.

A broken file can kill the process of its decoder (segmentation fault, out of memory), and no
exception can be caught. So a worker writes the name of the current record into a small file, the
crash marker. When a worker process has died, the driver counts the death for the record in the
marker. A record at which processes have died twice is skipped when the unit is done again.
A run that dies as a whole, such as by `kill -9`, counts no death.

In an object store, a write takes milliseconds. So the first attempt at a unit writes no records,
and only its further attempts do.
"""

import json
import os
from pathlib import Path

from store import identity
from store.errors import NotFoundError
from store.tables.files import Files
from store.tables.staging import StageRun

DEADLY_DEATHS = 2  # deaths at one record before it is skipped: a single one may be somebody's kill
_FOLDER = "crash_markers"  # in the staging of the run
_MAX_UNIT_DEATHS = 64
_MAX_UNMARKED_DEATHS = 2  # of a unit that writes no markers
_MARKER_BYTES = 128


class CrashMarkers:
    """The marker of one unit, held by the worker that does the unit.

    Attributes:
        deaths: how many processes have died at each record of the unit, by record.
    """

    def __init__(self, run: StageRun, unit: str):
        files = run.tables.files
        self._files, (self._marker, deaths) = files, _paths(run, unit)
        self.deaths = _read_deaths(files, deaths)
        self._file = -1
        if files.is_local:
            path = Path(files.root, self._marker)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self._write("")  # clears the marker of a run that died as a whole

    def at(self, record: str) -> None:
        """Mark this record as the current one.

        Args:
            record: its first 128 bytes are kept; "" means that no record is in work.
        """
        if self._files.is_local or self.deaths:
            self._write(record)

    def _write(self, record: str) -> None:
        data = record.encode()[:_MARKER_BYTES].ljust(_MARKER_BYTES)
        if self._file >= 0:
            os.pwrite(self._file, data, 0)
        elif not self._files.is_local:
            self._files.write(self._marker, data)

    def is_deadly(self, record: str) -> bool:
        """Whether so many processes have died at this record that it must be skipped."""
        return self.deaths.get(record, 0) >= DEADLY_DEATHS

    def close(self) -> None:
        """Clear the marker: the unit has ended, with or without an exception."""
        self.at("")
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def count_death(run: StageRun, unit: str) -> None:
    """Count a death for the record in a unit's marker; called when the unit's process has died.

    In an object store, a death at an unknown record is counted under the name "".
    """
    files, (marker, deaths_file) = run.tables.files, _paths(run, unit)
    record = _read_record(files, marker)
    if record or (record is not None and not files.is_local):
        deaths = _read_deaths(files, deaths_file)
        deaths[record] = deaths.get(record, 0) + 1
        files.write(deaths_file, json.dumps(deaths).encode())


def have_crashes(run: StageRun) -> bool:
    """Whether this run has markers of a crash: a worker process died, or the run as a whole."""
    files = run.tables.files
    paths = [file.path for file in files.list(f"{run.folder}/{_FOLDER}")]
    return any(path.endswith(".deaths") or _read_record(files, path) for path in paths)


def should_retry(run: StageRun, unit: str, deaths: int) -> bool:
    """Whether to retry a unit that has killed `deaths` processes in a row.

    A unit without markers is retried once. A unit with markers is retried more often, since each
    retry can get past one more deadly record.
    """
    marker, _ = _paths(run, unit)
    has_marker = run.tables.files.exists(marker)
    return deaths < (_MAX_UNIT_DEATHS if has_marker else _MAX_UNMARKED_DEATHS)


def _paths(run: StageRun, unit: str) -> tuple[str, str]:
    """The unit's marker, and its count of deaths."""
    stem = f"{run.folder}/{_FOLDER}/{identity.run_key(unit)}"
    return f"{stem}.at", f"{stem}.deaths"


def _read_record(files: Files, marker: str) -> str | None:
    """The record in a marker; "" if no record is in work, None if there is no marker yet."""
    try:
        return files.read(marker).rstrip(b" ").decode(errors="replace")
    except NotFoundError:
        return None


def _read_deaths(files: Files, path: str) -> dict[str, int]:
    try:
        return json.loads(files.read(path))
    except (NotFoundError, ValueError):  # no deaths yet, or the process died while it wrote them
        return {}
