"""Loose files: the files of one folder that share a name, but for the extension, are one record."""

import os
from collections.abc import Iterable, Iterator
from posixpath import dirname, splitext

from pipelines.sources.filesystem import open_inside, reason, size_of
from pipelines.sources.records import Assembly, BadRecord, Record, Unit, printable, role_of
from store.config.limits import Limits, Role
from store.errors import RecordError


def extension_of(path: str) -> str:
    """The last extension in lower case, without its dot."""
    return splitext(path)[1][1:].lower()


def group(paths: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Paths by the key of their record, both sorted; a name may hold further dots."""
    groups: dict[str, list[str]] = {}
    for path in sorted(paths):
        groups.setdefault(splitext(path)[0], []).append(path)
    return sorted(groups.items())


def count(unit: Unit) -> int:
    """The records of a unit, from the listing that it was made of."""
    return len({splitext(path)[0] for path in unit.paths})


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """The records of a unit in the order of their keys; a file is opened when it is reached."""
    for key, paths in group(unit.paths):
        assembly = Assembly(printable(dirname(key) or "."), printable(key))
        for path in paths:
            _take(assembly, unit.root, path, limits)
        yield assembly.finish()


def _take(assembly: Assembly, root: str, path: str, limits: Limits) -> None:
    if role_of(extension_of(path)) is None and os.path.islink(os.path.join(root, path)):
        try:
            open_inside(root, path).close()
        except RecordError as error:
            assembly.refuse(printable(path), "", error)

    def read_file(role: Role) -> bytes:
        return read_part(root, path, role, limits)

    assembly.offer(printable(path), extension_of(path), read_file)


def read_part(root: str, path: str, role: Role, limits: Limits) -> bytes:
    """A file's bytes. Raises RecordError: its size is over the limit, or as `open_inside` does."""
    try:
        with open_inside(root, path) as file:
            size = size_of(file)
            limits.check(role, size)
            return file.read(size)
    except OSError as error:
        raise RecordError("file.unreadable", reason(error)) from error
