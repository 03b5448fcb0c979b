"""The columns of measurements: which tables have them, and how their rows are read.

They are in `signals`, and in `pairs__{space}` if that table exists.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from store.tables import schema
from store.tables.lance_tables import SMALL_READAHEAD, Tables, quote
from store.tables.names import pairs_table
from store.tables.signals import REPAIR_TYPES
from store.workspace import Workspace

_ROWS = 1 << 16  # in a batch


class Column(NamedTuple):
    """A measurement: its name, its table and its type."""

    name: str
    table: str
    type: pa.DataType

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return schema.is_text(self.type)

    @property
    def is_whole(self) -> bool:
        """Whether its values are integers."""
        return pa.types.is_integer(self.type)

    @property
    def part(self) -> str | None:
        """The modality that it measures; None if it compares several."""
        first, _, rest = self.name.partition("_")
        compares = any(rest.startswith(m) for m in schema.MODALITIES)
        return first if first in schema.MODALITIES and not compares else None


def columns(workspace: Workspace) -> list[Column]:
    """All measurements that the corpus has a column for, in the order of the tables."""
    return [
        Column(field.name, table, field.type)
        for table in ("signals", pairs_table(workspace.config.space))
        if workspace.tables.exists(table)
        for field in workspace.tables.open(table).schema
        if _is_measurement(field)
    ]


def _is_measurement(field: pa.Field) -> bool:
    # The number of a cluster is a name, and there are too many of them.
    if field.name in ("drop", "id", "scorers", *REPAIR_TYPES) or field.name.endswith("_cluster"):
        return False
    is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    return is_number or schema.is_text(field.type)


def rows(
    tables: Tables, table: str, names: Sequence[str], drop: str | None = None
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read a table in batches: (drop, rows of this drop with `id` and the named columns).

    Args:
        tables: of the corpus.
        table: the table's name.
        names: columns to read.
        drop: restricts the rows to this drop.
    """
    where = None if drop is None else f"drop = {quote(drop)}"
    scanner = tables.open(table).scanner(
        columns=list(dict.fromkeys(["drop", "id", *names])),
        filter=where,
        batch_size=_ROWS,
        **SMALL_READAHEAD,
    )
    for batch in scanner.to_batches():
        drops = pc.unique(batch["drop"]).to_pylist()
        for name in drops:
            of_drop = batch.filter(pc.equal(batch["drop"], name)) if len(drops) > 1 else batch
            yield name, of_drop


def by_table(measured: Iterable[Column]) -> dict[str, list[Column]]:
    """Columns by the table that they are in."""
    groups: dict[str, list[Column]] = {}
    for column in measured:
        groups.setdefault(column.table, []).append(column)
    return groups
