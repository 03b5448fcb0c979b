"""The records of complete units in the staging of a stage: one file for each unit.

A record is written at once, so it exists as a whole or not at all. Several workers may write
records at the same time. The number of files and bytes grows linearly with the number of units.

A file has one line for the unit (`StagedUnit`) and one line for each of its ledger entries.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from lance import FragmentMetadata

from store import identity
from store.errors import NotFoundError
from store.tables.files import File, Files
from store.tables.outcomes import Counts, Entry, UnitOutcome

_READERS = 16  # threads that read records at once


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

    def is_intact(self, sizes: Mapping[str, int]) -> bool:
        """Whether the data files have the sizes that were written.

        Args:
            sizes: of the existing data files, in bytes, by name.
        """
        files = [file for fragment in self.metadata() for file in fragment.files]
        return all(sizes.get(file.path) == file.file_size_bytes for file in files)

    def metadata(self) -> list[FragmentMetadata]:
        """The fragments of its rows."""
        return [FragmentMetadata.from_json(fragment) for fragment in self.fragments]


def write(
    files: Files, folder: str, unit: str, outcome: UnitOutcome, fragments: list[FragmentMetadata]
) -> None:
    """Write the record of a unit. An earlier record of the same unit is replaced."""
    outcomes = Counter(entry.outcome for entry in outcome.entries)
    header = {
        "unit": unit,
        "counts": [outcome.input, outcome.kept, outcomes["rejected"], outcomes["failed"]],
        "broken": outcome.broken,
        "fragments": [json.dumps(fragment.to_json()) for fragment in fragments],
    }
    lines: list[dict[str, Any]] = [header, *(asdict(entry) for entry in outcome.entries)]
    files.write(_path(folder, unit), "".join(json.dumps(line) + "\n" for line in lines).encode())


def is_complete(files: Files, folder: str, unit: str) -> bool:
    """Whether a unit has a record."""
    return files.exists(_path(folder, unit))


def read(files: Files, folder: str) -> list[StagedUnit]:
    """The complete units, in the order in which they were written."""
    with ThreadPoolExecutor(_READERS) as threads:
        return list(threads.map(lambda file: _header(files, file), _records(files, folder)))


def entries(files: Files, folder: str) -> Iterator[Entry]:
    """Stream the ledger entries of the complete units."""
    for file in _records(files, folder):
        for line in files.read(file.path).splitlines()[1:]:
            yield Entry(**json.loads(line))


def discard_broken(files: Files, folder: str, data: str, listed: Collection[File]) -> None:
    """Delete records that cannot be read, or whose data files are missing or cut.

    A power failure can leave them. Their units are done again.

    Args:
        files: of the corpus.
        folder: of the records.
        data: the folder of the data files.
        listed: the files in both folders; others are ignored.
    """
    sizes = {file.path.removeprefix(f"{data}/"): file.size for file in listed}
    broken = []
    for file in _sorted_records(file for file in listed if file.path.startswith(f"{folder}/")):
        try:
            is_intact = _header(files, file).is_intact(sizes)
        except (ValueError, KeyError, TypeError, IndexError, NotFoundError):
            is_intact = False
        if not is_intact:
            broken.append(file.path)
    files.delete(broken)


def discard_others(files: Files, folder: str, units: Collection[str]) -> list[str]:
    """Delete the records of all units but these; return the names of those that have one."""
    paths = {_path(folder, unit): unit for unit in units}
    records = _records(files, folder)
    files.delete([file.path for file in records if file.path not in paths])
    return [paths[file.path] for file in records if file.path in paths]


def _path(folder: str, unit: str) -> str:
    return f"{folder}/{identity.run_key(unit)}.jsonl"


def _records(files: Files, folder: str) -> list[File]:
    """The files of records, oldest first."""
    return _sorted_records(files.list(folder))


def _sorted_records(listed: Iterable[File]) -> list[File]:
    records = [file for file in listed if file.path.endswith(".jsonl")]
    return sorted(records, key=lambda file: (file.modified, file.path))


@lru_cache(maxsize=1 << 14)
def _header(files: Files, file: File) -> StagedUnit:
    """The first line of a record. The tag of the file is part of the cache's key."""
    header = json.loads(files.read(file.path).splitlines()[0])
    counts, fragments = Counts(*header["counts"]), tuple(header["fragments"])
    return StagedUnit(header["unit"], counts, header["broken"], fragments)
