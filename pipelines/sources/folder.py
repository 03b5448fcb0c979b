"""Reader of loose files: files of one folder with the same name, up to the extension, are a record.

The name may hold further dots: only the last extension is taken off.
"""

import os
from collections.abc import Iterable, Iterator
from posixpath import dirname, splitext

from pipelines.sources.filesystem import error_text, open_inside, size_of
from pipelines.sources.name_captions import name_caption
from pipelines.sources.records import Assembly, BadRecord, Record, Unit, printable, role_of
from store.config.limits import Limits, Role
from store.errors import RecordError


def extension_of(path: str) -> str:
    """The last extension in lower case, without its dot."""
    return splitext(path)[1][1:].lower()


def group(paths: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Group paths by the key of their record (the path without its extension), both sorted."""
    groups: dict[str, list[str]] = {}
    for path in sorted(paths):
        groups.setdefault(splitext(path)[0], []).append(path)
    return sorted(groups.items())


def count(unit: Unit) -> int:
    """Count the records of a unit by its list of files; no file is opened."""
    return len({splitext(path)[0] for path in unit.paths})


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit, in the order of their keys."""
    for key, paths in group(unit.paths):
        assembly = Assembly(printable(dirname(key) or "."), printable(key))
        for path in paths:
            _add(assembly, unit.root, path, limits)
        record = assembly.finish()
        if unit.name_captions and isinstance(record, Record):
            record.name_text = name_caption(record.key)
        yield record


def _add(assembly: Assembly, root: str, path: str, limits: Limits) -> None:
    if role_of(extension_of(path)) is None and os.path.islink(os.path.join(root, path)):
        try:
            open_inside(root, path).close()
        except RecordError as error:
            assembly.add_error(printable(path), "", error)

    def read_file(role: Role) -> bytes:
        return read_part(root, path, role, limits)

    assembly.add(printable(path), extension_of(path), read_file)


def read_part(root: str, path: str, role: Role, limits: Limits) -> bytes:
    """Read a file.

    Raises:
        RecordError: the file is larger than the limit of its role, or cannot be opened (as in
            `open_inside`) or read.
    """
    try:
        with open_inside(root, path) as file:
            size = size_of(file)
            limits.check(role, size)
            return file.read(size)
    except OSError as error:
        raise RecordError("file.unreadable", error_text(error)) from error
