"""The units of the stage `signals`: neighbouring rows of a drop's samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow.compute as pc

from pipelines.signals.incremental import EarlierSignals
from store.tables.lance_tables import quote

_UNIT_ROWS, _UNIT_BYTES = 4096, 64 << 20
_SCAN_ROWS = 65_536  # without media


@dataclass(frozen=True)
class Unit:
    """Neighbouring rows of a drop in one fragment of `samples`.

    Attributes:
        fragment: its id.
        first, last: row addresses, both included.
        where: SQL that selects the rows among these.
        earlier_rows: int64 (rows,), the row ids of these samples' earlier rows in `signals`; -1
            where there is none.
        sampled: whether they are of the random sample of a cascade.
    """

    fragment: int
    first: int
    last: int
    where: str
    earlier_rows: np.ndarray
    sampled: bool = False

    @property
    def name(self) -> str:
        return f"{'sample-' if self.sampled else ''}{self.first}-{self.last}"


def list_units(
    samples: lance.LanceDataset, drop_filter: str, earlier: EarlierSignals, end: str = ""
) -> Iterator[Unit]:
    """A drop's rows in units of at most 64 MB of media and 4,096 rows.

    Args:
        drop_filter: SQL that selects the drop.
        end: samples whose ids are at most this are in units of their own, which come first.
    """
    if end:
        yield from _units_where(samples, f"{drop_filter} AND id <= {quote(end)}", earlier, True)
        drop_filter = f"{drop_filter} AND id > {quote(end)}"
    yield from _units_where(samples, drop_filter, earlier, False)


def _units_where(
    samples: lance.LanceDataset, where: str, earlier: EarlierSignals, sampled: bool
) -> Iterator[Unit]:
    columns = ["id", "image_bytes", "audio_bytes"]
    for fragment in samples.get_fragments():
        batches = fragment.to_batches(
            columns=columns, filter=where, with_row_address=True, batch_size=_SCAN_ROWS
        )
        for batch in batches:
            sizes = [pc.fill_null(batch[c], 0).to_numpy() for c in columns[1:]]
            earlier_rows = earlier.row_ids(batch["id"])
            addresses = batch["_rowaddr"].to_numpy()
            for start, stop in cut(sum(sizes)):
                first, last = int(addresses[start]), int(addresses[stop - 1])
                rows = earlier_rows[start:stop]
                yield Unit(fragment.fragment_id, first, last, where, rows, sampled)


def cut(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut rows into spans of at most 64 MB and 4,096 rows; a larger row gets a span of its own.

    Args:
        sizes: bytes of each row, int (n,).

    Returns:
        (start, stop) of each span, in order; together they cover all rows.
    """
    start, ends = 0, np.cumsum(sizes)
    while start < len(sizes):
        full = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _UNIT_BYTES, "right"))
        stop = min(max(full, start + 1), start + _UNIT_ROWS)
        yield start, stop
        start = stop
