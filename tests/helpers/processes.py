"""Processes of this machine, which tests kill."""

from collections.abc import Iterator
from pathlib import Path


def descendants(ancestor: int) -> Iterator[tuple[int, str]]:
    """Process ids and command lines of all descendants of a process."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # the process has ended in the meantime
            continue
    for pid in parents:
        parent = pid
        while (parent := parents.get(parent, 0)) and parent != ancestor:
            pass
        if parent == ancestor:
            try:
                yield pid, Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
