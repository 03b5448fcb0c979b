"""Checks that the built explorer is that of its source, without Node.

`make explorer` builds orchestration/explorer/built and writes `built.sha256`, a hash of the source
and of what was built from it. `make check` compares it.

    python tools/check_explorer.py            # exits with 1 if the build is out of date
    python tools/check_explorer.py --write    # after a build
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "orchestration" / "explorer"
RECORD = "built.sha256"


def digest(folder: Path) -> str:
    """A hash of the names and contents of all files of the folder, but for packages of npm."""
    total = hashlib.sha256()
    for path in sorted(_files(folder)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def is_current(folder: Path) -> bool:
    """Whether the record is there and is that of the files."""
    record = folder / RECORD
    return record.is_file() and record.read_text().strip() == digest(folder)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        names = path.relative_to(folder).parts
        if path.is_file() and "node_modules" not in names and names != (RECORD,):
            yield path


def main(arguments: list[str]) -> int:
    """Compare the record, or write it. Returns the exit status."""
    if arguments == ["--write"]:
        (FOLDER / RECORD).write_text(digest(FOLDER) + "\n")
        return 0
    if is_current(FOLDER):
        return 0
    print(f"{FOLDER.name}: the build is not that of the source: run `make explorer`")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
