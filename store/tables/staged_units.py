"""The records of complete units in the staging of a stage: one file for each unit.

A record is written under a temporary name and renamed, so it exists as a whole or not at all.
Several workers may write records at once. The number of files and bytes grows linearly with the
number of units.

A file has one line for the unit (`StagedUnit`) and one line for each of its ledger entries.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from lance import FragmentMetadata

from store import identity
from store.tables.outcomes import Counts, Entry, UnitOutcome


@dataclass(frozen=True)
class StagedUnit:
    """A complete unit.

    Attributes:
        unit: its name.
        counts: its records. They need not add up: only a whole stage is checked.
        broken: how many records count against the error budget.
        fragments: the Lance fragments of its rows, as JSON.
    """

    unit: str
    counts: Counts
    broken: int
    fragments: tuple[str, ...]

    def is_intact(self, data: Path) -> bool:
        """Whether the data files in the folder `data` have the sizes that were written."""
        files = [file for fragment in self.metadata() for file in fragment.files]
        return all(_size(data / file.path) == file.file_size_bytes for file in files)

    def metadata(self) -> list[FragmentMetadata]:
        """The fragments of its rows."""
        return [FragmentMetadata.from_json(fragment) for fragment in self.fragments]


def write(folder: Path, unit: str, outcome: UnitOutcome, fragments: list[FragmentMetadata]) -> None:
    """Write the record of a unit. An earlier record of the same unit is replaced."""
    outcomes = Counter(entry.outcome for entry in outcome.entries)
    header = {
        "unit": unit,
        "counts": [outcome.input, outcome.kept, outcomes["rejected"], outcomes["failed"]],
        "broken": outcome.broken,
        "fragments": [json.dumps(fragment.to_json()) for fragment in fragments],
    }
    lines: list[dict[str, Any]] = [header, *(asdict(entry) for entry in outcome.entries)]
    temporary = folder / f"{uuid4().hex}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    temporary.replace(folder / f"{identity.run_key(unit)}.jsonl")


def read(folder: Path) -> list[StagedUnit]:
    """The complete units, in the order in which they were written."""
    return [_header(str(path), time) for path, time in _files(folder)]


def entries(folder: Path) -> Iterator[Entry]:
    """Stream the ledger entries of the complete units."""
    for path, _ in _files(folder):
        with path.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                yield Entry(**json.loads(line))


def discard_broken(folder: Path, data: Path) -> None:
    """Delete records that cannot be read, or whose data files are missing or cut.

    A power failure can leave them. Their units are done again.
    """
    for path, time in _files(folder):
        try:
            is_intact = _header(str(path), time).is_intact(data)
        except (ValueError, KeyError, TypeError, StopIteration):
            is_intact = False
        if not is_intact:
            path.unlink()


def _files(folder: Path) -> list[tuple[Path, int]]:
    """The files of records with the times of their last change, oldest first."""
    files = [(path, path.stat().st_mtime_ns) for path in folder.glob("*.jsonl")]
    return sorted(files, key=lambda file: (file[1], file[0]))


@lru_cache(maxsize=1 << 14)
def _header(path: str, time: int) -> StagedUnit:
    """The first line of a record. `time` is part of the cache's key."""
    with Path(path).open(encoding="utf-8") as lines:
        header = json.loads(next(lines))
    counts, fragments = Counts(*header["counts"]), tuple(header["fragments"])
    return StagedUnit(header["unit"], counts, header["broken"], fragments)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
