"""Reader of WebDataset shards: consecutive members of a tar with the same key are one record.

The key is a member's path up to the first dot of the base name, and the rest is its extension.
Only single extensions are parts of a record (`seg.png` is not). Nothing is extracted to disk.
"""

from collections.abc import Iterator
from contextlib import closing

from pipelines.sources.byte_streams import Stream, open_stream
from pipelines.sources.records import Assembly, BadRecord, Record, Unit, printable
from pipelines.sources.tar import Cut, Damage, Member, walk
from store.config.limits import Limits, Role
from store.errors import RecordError


def count(unit: Unit) -> int:
    """Count the records of a shard by its headers. The data of a plain tar is not read."""
    try:
        stream = open_stream(unit.root, unit.paths[0])
    except RecordError:
        return 1
    records = 0
    key: bytes | None = None
    with closing(stream):
        for event in walk(stream):
            if isinstance(event, Member):
                records += event.key != key
                key = event.key
            elif isinstance(event, Damage):
                records += 1
                key = None
    return records


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a shard in their order.

    A damaged section is a bad record with the key `byte-N`, where N is its first byte.
    """
    source = printable(unit.paths[0])
    try:
        stream = open_stream(unit.root, unit.paths[0])
    except RecordError as error:
        yield BadRecord(source, "byte-0", error)
        return
    key: bytes | None = None
    assembly: Assembly | None = None
    with closing(stream):
        for event in walk(stream):
            if isinstance(event, Cut) and assembly:
                assembly.fail(event.error)
            elif isinstance(event, Damage):
                if assembly:
                    yield assembly.finish()
                assembly = None
                yield BadRecord(source, f"byte-{event.position}", event.error)
            elif isinstance(event, Member):
                if assembly is None or event.key != key:
                    if assembly:
                        yield assembly.finish()
                    key = event.key
                    assembly = Assembly(source, printable(key))
                _add(assembly, event, stream, limits)
    if assembly:
        yield assembly.finish()


def _add(assembly: Assembly, member: Member, stream: Stream, limits: Limits) -> None:
    name = printable(member.name)
    if not member.is_file:
        error = RecordError("tar.not_a_file", f"{name} is a link, device or pipe, not a file")
        assembly.add_error(name, member.extension, error)
        return
    if member.name.startswith(b"/") or b".." in member.name.split(b"/"):
        error = RecordError("tar.outside", f"path points outside the archive: {name}")
        assembly.add_error(name, member.extension, error)
        return

    def read_data(role: Role) -> bytes:
        limits.check(role, member.size)
        data = stream.read(member.size)
        if len(data) < member.size:
            message = f"the tar holds only {len(data)} of the {member.size} bytes of {name}"
            raise RecordError("tar.truncated", message)
        return data

    assembly.add(name, member.extension, read_data)
