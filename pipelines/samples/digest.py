"""A digest of the samples of a drop: the `output` in the record of the stage."""

import pyarrow as pa

from store import identity
from store.tables.lance_tables import Tables, quote


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


def digest_of_drop(tables: Tables, drop: str) -> str:
    """The digest of the stored samples of a drop. A table that does not exist counts as empty."""
    digest = SampleDigest()
    if (dataset := tables.open_or_none("samples")) is not None:
        rows = dataset.scanner(columns=list(SampleDigest.COLUMNS), filter=f"drop = {quote(drop)}")
        for batch in rows.to_batches():
            digest.add(batch)
    return digest.hex
