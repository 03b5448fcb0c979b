"""WebDataset: a tar whose consecutive members with one key are one record.

The key is the path up to the first dot of the base name; the rest is the extension, of which
only the plain ones are parts of a record (`seg.png` is none). Nothing is ever extracted.
"""

from collections.abc import Iterator
from contextlib import closing

from pipelines.sources.byte_streams import Stream, open_stream
from pipelines.sources.records import Assembly, BadRecord, Record, Unit, printable
from pipelines.sources.tar import Cut, Damage, Member, walk
from store.config.limits import Limits, Role
from store.errors import RecordError


def count(unit: Unit) -> int:
    """The records of a shard, from its headers: no data is read where the file can be seeked."""
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
    """The records of a shard in their order, and what is damaged, one by one.

    A damaged stretch has the key `byte-N`, N being where it begins.
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
                assembly.spoil(event.error)
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
                _take(assembly, event, stream, limits)
    if assembly:
        yield assembly.finish()


def _take(assembly: Assembly, member: Member, stream: Stream, limits: Limits) -> None:
    name = printable(member.name)
    if not member.is_file:
        error = RecordError("tar.not_a_file", f"{name} is a link, device or pipe")
        assembly.refuse(name, member.extension, error)
        return
    if member.name.startswith(b"/") or b".." in member.name.split(b"/"):
        error = RecordError("tar.outside", f"{name} leads out of the tar; nobody means well by it")
        assembly.refuse(name, member.extension, error)
        return

    def read_data(role: Role) -> bytes:
        limits.check(role, member.size)
        data = stream.read(member.size)
        if len(data) < member.size:
            text = f"{len(data)} of the {member.size} bytes of {name} are there"
            raise RecordError("tar.truncated", text)
        return data

    assembly.offer(name, member.extension, read_data)
