"""A digest of the samples of a drop: the `output` in the record of the stage."""

import pyarrow as pa

from store import identity


class SampleDigest:
    """A digest of the columns that later stages depend on. It ignores the order of the rows."""

    COLUMNS = ("id", "source", "key", "meta")

    def __init__(self) -> None:
        self.total = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows, which have at least `COLUMNS`."""
        columns = [batch[c].to_pylist() for c in self.COLUMNS]
        self.total += identity.unordered_digest(repr(row) for row in zip(*columns, strict=True))

    @property
    def hex(self) -> str:
        """The digest of all rows so far, in hexadecimal."""
        return f"{self.total % (1 << 128):032x}"
