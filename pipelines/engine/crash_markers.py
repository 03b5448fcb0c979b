"""Crumbs: where a unit's work is, written down as it goes, so that a death tells its culprit.

A decoder may take its whole process down (a segmentation fault, memory) and nothing is left to
catch it. What is left is the crumb: the place the unit was at. Who outlives the process blames that
place; a run that dies as a whole, such as by `kill -9`, blames nothing. Whoever does the unit again
goes past a place that was deadly twice.
"""

import json
import os
from pathlib import Path

from store import identity
from store.tables.staging import StageRun

BLAMED = 2  # deaths at one place, after which it is passed over: one may be somebody's kill
_MOST_DEATHS = 64  # of one unit
_LENGTH = 128


class CrashMarkers:
    """A unit's crumbs, and `deaths`: how often processes have died at its places."""

    def __init__(self, run: StageRun, unit: str):
        at, deaths = _files(run, unit)
        at.parent.mkdir(parents=True, exist_ok=True)
        self.deaths = _read_deaths(deaths)
        self._file = os.open(at, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self.at("")  # what a run that died as a whole has left

    def at(self, place: str) -> None:
        """The unit is now at this place (at most 128 bytes); at none, where it is empty."""
        os.pwrite(self._file, place.encode()[:_LENGTH].ljust(_LENGTH), 0)

    def is_deadly(self, place: str) -> bool:
        """Whether processes have died at this place often enough to pass it over."""
        return self.deaths.get(place, 0) >= BLAMED

    def close(self) -> None:
        """The unit has ended in an orderly way: the place it is at is nobody's fault."""
        if self._file >= 0:
            self.at("")
            os.close(self._file)
            self._file = -1


def blame(run: StageRun, unit: str) -> None:
    """A process has died over this unit, and this one has not: count it for the place."""
    at, counted = _files(run, unit)
    if place := _read_place(at):
        deaths = _read_deaths(counted)
        deaths[place] = deaths.get(place, 0) + 1
        counted.write_text(json.dumps(deaths), encoding="utf-8")


def were_left(run: StageRun) -> bool:
    """Whether a process has died over a unit of this run before, or the run as a whole."""
    folder = run.folder / "crumbs"
    return folder.is_dir() and any(
        _read_place(at) or at.with_suffix(".deaths").exists() for at in folder.glob("*.at")
    )


def may_die_again(run: StageRun, unit: str, deaths: int) -> bool:
    """Whether to redo a unit that has taken down `deaths` processes in a row: once for one that
    leaves no crumbs, and for others as long as they can be on their way past their culprits."""
    at, _ = _files(run, unit)
    return deaths < (_MOST_DEATHS if at.exists() else 2)


def _files(run: StageRun, unit: str) -> tuple[Path, Path]:
    stem = run.folder / "crumbs" / identity.run_key(unit)
    return stem.with_suffix(".at"), stem.with_suffix(".deaths")


def _read_place(at: Path) -> str:
    try:
        return at.read_bytes().rstrip(b" ").decode(errors="replace")
    except OSError:  # none yet
        return ""


def _read_deaths(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a death while they were written
        return {}
