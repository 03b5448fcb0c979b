"""Reads the records of a unit that were planned when the units were listed: documents, videos.

How many records such a file has is found out once, by the parser that lists it. So counting and
reading agree even if the parser dies or stalls at another record each time.
"""

from collections.abc import Callable, Iterator
from itertools import groupby

from pipelines.sources.isolated.parent import Program, parse
from pipelines.sources.isolated.pipe import Message
from pipelines.sources.records import BadRecord, Planned, Record, Unit, printable
from store.errors import RecordError

_NOTHING = RecordError("record.unexpected", "its parser ended before it came to this record")


def count(unit: Unit) -> int:
    """Count the planned records."""
    return len(unit.planned)


def read(
    unit: Unit,
    program: Program,
    request: dict,
    record: Callable[[Planned, Message], Record],
) -> Iterator[Record | BadRecord]:
    """One item for each planned record, in their order.

    Args:
        unit: the files.
        program: the parser. It gets the `places` of the records, and gives a message for each.
        request: what the program is asked for beside the places.
        record: makes a record of a message; may raise RecordError.
    """
    for path, group in groupby(unit.planned, lambda planned: planned.path):
        records = list(group)
        places = [planned.place for planned in records if planned.error is None]
        items = (
            parse(program, unit.root, path, request | {"places": places}) if places else iter(())
        )
        last: Message | RecordError = _NOTHING
        for planned in records:
            error = planned.error
            if error is None:
                last = next(items, last if isinstance(last, RecordError) else _NOTHING)
                try:
                    if isinstance(last, RecordError):
                        raise last
                    yield record(planned, last)
                    continue
                except RecordError as raised:
                    error = raised
            yield BadRecord(printable(path), planned.key, error)
