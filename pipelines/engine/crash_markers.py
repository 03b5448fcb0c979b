"""Crash markers: which record a unit was working on when its process died.

A broken file can kill the process of its decoder (segmentation fault, out of memory), and no
exception can be caught. So a worker writes the name of the current record into a small file, the
crash marker. When a worker process has died, the driver counts the death for the record in the
marker. A record at which processes have died twice is skipped when the unit is done again.
A run that dies as a whole, such as by `kill -9`, counts no death.
"""

import json
import os
from pathlib import Path

from store import identity
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
        marker, deaths = _files(run, unit)
        marker.parent.mkdir(parents=True, exist_ok=True)
        self.deaths = _read_deaths(deaths)
        self._file = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self.at("")  # clears the marker of a run that died as a whole

    def at(self, record: str) -> None:
        """Mark this record as the current one.

        Args:
            record: its first 128 bytes are kept; "" means that no record is in work.
        """
        os.pwrite(self._file, record.encode()[:_MARKER_BYTES].ljust(_MARKER_BYTES), 0)

    def is_deadly(self, record: str) -> bool:
        """Whether so many processes have died at this record that it must be skipped."""
        return self.deaths.get(record, 0) >= DEADLY_DEATHS

    def close(self) -> None:
        """Clear the marker: the unit has ended, with or without an exception."""
        if self._file >= 0:
            self.at("")
            os.close(self._file)
            self._file = -1


def count_death(run: StageRun, unit: str) -> None:
    """Count a death for the record in a unit's marker; called when the unit's process has died."""
    marker, deaths_file = _files(run, unit)
    if record := _read_record(marker):
        deaths = _read_deaths(deaths_file)
        deaths[record] = deaths.get(record, 0) + 1
        deaths_file.write_text(json.dumps(deaths), encoding="utf-8")


def have_crashes(run: StageRun) -> bool:
    """Whether this run has markers of a crash: a worker process died, or the run as a whole."""
    folder = run.folder / _FOLDER
    return folder.is_dir() and any(
        _read_record(marker) or marker.with_suffix(".deaths").exists()
        for marker in folder.glob("*.at")
    )


def should_retry(run: StageRun, unit: str, deaths: int) -> bool:
    """Whether to retry a unit that has killed `deaths` processes in a row.

    A unit without markers is retried once. A unit with markers is retried more often, since each
    retry can get past one more deadly record.
    """
    marker, _ = _files(run, unit)
    return deaths < (_MAX_UNIT_DEATHS if marker.exists() else _MAX_UNMARKED_DEATHS)


def _files(run: StageRun, unit: str) -> tuple[Path, Path]:
    """The unit's marker, and its count of deaths."""
    stem = run.folder / _FOLDER / identity.run_key(unit)
    return stem.with_suffix(".at"), stem.with_suffix(".deaths")


def _read_record(marker: Path) -> str:
    try:
        return marker.read_bytes().rstrip(b" ").decode(errors="replace")
    except OSError:  # no marker yet
        return ""


def _read_deaths(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no deaths yet, or the process died while it wrote them
        return {}
