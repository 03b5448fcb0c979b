"""The work on one unit: the protocol that stages implement and that Beam and Ray run."""

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from store.tables.staging import UnitOutcome


class Work(Protocol):
    """The work on one unit of a stage.

    Iterating over it does the work and gives the unit's rows. `outcome` is called afterwards.
    """

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def outcome(self) -> UnitOutcome:
        """The unit's counts and its rejected, failed and unmeasured records."""
