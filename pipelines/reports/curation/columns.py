"""What is measured of samples, in which tables, and how it is read: the one place that knows.

Signals are in `signals`. What compares a sample's parts in a space is in `pairs__{space}`, where
there is such a table.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from store.tables import schema
from store.tables.lance_tables import LITTLE_AHEAD, Tables, quote
from store.tables.names import pairs_table
from store.workspace import Workspace

_ROWS = 1 << 16


class Column(NamedTuple):
    """A measurement: its name, the table that it is in, and what it is."""

    name: str
    table: str
    type: pa.DataType

    @property
    def is_text(self) -> bool:
        return schema.is_text(self.type)

    @property
    def is_whole(self) -> bool:
        return pa.types.is_integer(self.type)

    @property
    def part(self) -> str | None:
        """The modality that it measures; None where it compares several."""
        first, _, rest = self.name.partition("_")
        compares = any(rest.startswith(m) for m in schema.MODALITIES)
        return first if first in schema.MODALITIES and not compares else None


def columns(workspace: Workspace) -> list[Column]:
    """Every measurement that the corpus has a column for, in the order of the tables."""
    found = []
    for table in ("signals", pairs_table(workspace.config.space)):
        if workspace.tables.exists(table):
            for field in workspace.tables.open(table).schema:
                if _is_measured(field):
                    found.append(Column(field.name, table, field.type))
    return found


def _is_measured(field: pa.Field) -> bool:
    # A cluster's number is a name, and there are too many of them.
    if field.name in ("drop", "id", "scorers") or field.name.endswith("_cluster"):
        return False
    number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    return number or schema.is_text(field.type)


def rows(
    tables: Tables, table: str, names: Sequence[str], drop: str | None = None
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Batches of (id, *names), each with the one drop that its rows are of, streamed.

    Args:
        drop: rows of this drop alone.
    """
    where = None if drop is None else f"drop = {quote(drop)}"
    scanner = tables.open(table).scanner(
        columns=list(dict.fromkeys(["drop", "id", *names])),
        filter=where,
        batch_size=_ROWS,
        **LITTLE_AHEAD,
    )
    for batch in scanner.to_batches():
        drops = pc.unique(batch["drop"]).to_pylist()
        for one in drops:
            mine = batch.filter(pc.equal(batch["drop"], one)) if len(drops) > 1 else batch
            yield one, mine


def by_table(measured: Iterable[Column]) -> dict[str, list[Column]]:
    found: dict[str, list[Column]] = {}
    for column in measured:
        found.setdefault(column.table, []).append(column)
    return found
