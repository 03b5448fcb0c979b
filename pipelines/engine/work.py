"""The protocol of the work that Beam and Ray run."""

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from store.tables.staging import UnitOutcome


class Work(Protocol):
    """One unit in progress: its rows as they come, then what became of its records."""

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def outcome(self) -> UnitOutcome: ...
